"""Does RSA change with dispersion more than with bins drawn at random?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import PairOn, Repeats, paired, told_of
from xconverge.engine.resampling import strata_name, strata_of
from xconverge.kernels.bins import contrast_test
from xconverge.labels.joins import Join, natural_rank
from xconverge.labels.messages import choose
from xconverge.labels.variables import describe
from xconverge.measures.rdm import METHODS
from xconverge.study.binned_rsa import Average, rdms_by_bin
from xconverge.study.modulation import Tail


def binned_rsa_contrast(
    reps: xr.DataArray,
    target: xr.DataArray,
    by: xr.DataArray,
    n_bins: int = 3,
    *,
    average: Average | None = "rdm",
    metric: str = "correlation",
    method: str = "spearman",
    strata: str | xr.DataArray | None = None,
    n_permutations: int = 1000,
    tail: Tail = "two-sided",
    join: Join = "exact",
    pair_on: PairOn | None = None,
    repeats: Repeats = "mean",
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Trend of RSA over dispersion bins, and lowest against highest bin, when bins are permuted.

    Parameters
    ----------
    reps, target, by, n_bins, average, metric, method, join, pair_on, repeats
        As in ``binned_rsa``.
    strata : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus): bins are permuted only inside its
        values. With ``pair_on`` they carry the labels of their side, or those of the pairing.
    n_permutations : int
        Permutations of which stimulus is in which bin, the same for all pairs.
    tail : {"two-sided", "greater", "less"}
        Which null contrasts count as extreme.
    rng : Generator, int or None
        Source of the permutations.

    Returns
    -------
    Dataset
        For every pair of RDMs: ``trend``, the least-squares slope of the bins' RSA per bin, and
        ``low_minus_high``, the RSA of the lowest bin less that of the highest; ``trend_p_value``
        and ``low_minus_high_p_value``, (1 + #{null at least as extreme}) / (1 + n_permutations).
        NaN with a warning where a bin has fewer than 3 stimuli; p-values also where no stratum
        has stimuli of two bins. Lazy in ``reps`` and ``target``; a
        task holds two RDMs.

    Raises
    ------
    SchemaError, ValueError
        As ``binned_rsa``.

    Notes
    -----
    Exchangeable under the null is the bin of a stimulus (inside strata); the RDMs are the same in
    every permutation, ranked again inside the permuted bins. ``binned_rsa`` tests another null:
    that inside a bin the target has nothing to do with the model. Bins of different spread of
    distances differ in RSA without a difference in fit: match with ``strata``, or read the noise
    ceilings of the bins.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import rdm, stack_models
    >>> ids = [f"s{i}" for i in range(30)]
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((30, 8))
    >>> noisy = x + np.linspace(0, 3, 30)[:, None] * rng.standard_normal((30, 8))
    >>> by = xr.DataArray(np.arange(30.0), dims="stimulus", coords={"stimulus": ids})
    >>> brain = rdm(stack_models({"brain": noisy}, stimuli=ids)).isel(model=0, drop=True)
    >>> found = binned_rsa_contrast(stack_models({"a": x}, stimuli=ids), brain, by,
    ...     n_permutations=99, rng=0)
    >>> bool(found["trend"] < 0), float(found["trend_p_value"]) <= 0.05
    (True, True)
    """
    reps, target, by, strata = paired(
        pair_on, repeats, reps=reps, target=target, by=by, strata=strata
    )
    choose("tail", tail, ["two-sided", "greater", "less"])
    if n_permutations < 0 or n_bins < 2:
        raise ValueError(f"n_permutations={n_permutations}, n_bins={n_bins}: at least 0 and 2")
    models, target, by, bins, dropped = rdms_by_bin(
        reps, target, by, n_bins, average, metric, method, join
    )
    groups = strata_of(strata, (by, models))
    rank = xr.DataArray(natural_rank(by.indexes["stimulus"]), dims="stimulus")
    seed = int(np.random.default_rng(rng).integers(2**63))
    value, p_value = apply(
        contrast_test,
        models,
        target,
        bins.reset_coords(drop=True).drop_vars("stimulus"),
        rank,
        xr.zeros_like(rank) if groups is None else groups.drop_vars("stimulus"),
        core=[["stimulus", "stimulus_2"]] * 2 + [["stimulus"]] * 3,
        out=[["_contrast"]] * 2,
        sizes={"_contrast": 2},
        dtypes=[np.float64] * 2,
        n_bins=n_bins,
        method=METHODS[method].function,
        n_permutations=n_permutations,
        seed=seed,
        tail=tail,
    )
    parameters = {
        "metric": method, "rdm_metric": metric, "average": average or "none", "n_bins": n_bins,
        "n_permutations": n_permutations, "tail": tail, "strata": strata_name(strata),
        "n_dropped": dropped, **told_of(pair_on, repeats),
    }  # fmt: skip
    return xr.Dataset(
        {
            name + suffix: describe(part.isel(_contrast=i), name + suffix, **parameters)
            for i, name in enumerate(("trend", "low_minus_high"))
            for suffix, part in (("", value), ("_p_value", p_value))
        }
    )
