"""The geometry at one time against that at another: how long a code lasts, and where it changes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.names import names_along
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.progress import Progress, Report
from xconverge.engine.resampling import seed_of, strata_name
from xconverge.inference.calibration import (
    Rng,
    check_draws,
    permuted_rdms,
    table_of,
    with_models,
)
from xconverge.inference.multiplicity import TIMES, Over, family_of
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rsa import Rsa
from xconverge.labels.arguments import callback, whole
from xconverge.labels.checks import check_dims
from xconverge.labels.coordinates import carried
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import described
from xconverge.measures.rsa import METHODS, join_controls, rsa

PAIRS = ("model_a", "model_b")
HELD = {"stimulus", "stimulus_2", *PAIRS, *TIMES}
"""Dims whose RDMs are in one task; any other is mapped over."""


def cross_temporal_rsa(
    rdm_a: xr.DataArray,
    rdm_b: xr.DataArray | None = None,
    method: str = "spearman",
    *,
    n_permutations: int = 1000,
    alpha: float = 0.05,
    strata: str | xr.DataArray | None = None,
    blocks: str | xr.DataArray | None = None,
    over: Over = None,
    progress: Progress | None = None,
    rng: Rng = None,
) -> xr.Dataset:
    """Similarity of the RDM at every time with the RDM at every other time.

    Parameters
    ----------
    rdm_a : DataArray
        RDMs (…, time, stimulus, stimulus_2), as ``rdm`` makes them of (…, time, stimulus,
        feature); ``model`` may be absent.
    rdm_b : DataArray, optional
        The same of other trials of the same stimuli, of another subject or of a model; its times
        may be others. By default ``rdm_a`` with itself.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``.
    n_permutations : int
        Permutations of the labels of ``rdm_b``, the same at all times; 0 for similarities alone.
    alpha, strata, blocks, progress, rng
        As in ``calibrate``.
    over : str or sequence of str, optional
        Dims whose tests are corrected for together, by default all, both times among them.

    Returns
    -------
    Dataset
        As ``calibrate_rsa``, over (…, model_a, model_b, time, time_2), ``time`` that of ``rdm_a``
        and ``time_2`` that of ``rdm_b``: ``rsa`` in [-1, 1], ``p_value`` with its corrected ones,
        of which ``p_value_cluster`` is of clusters in the plane (bins that share a side), and the
        others. In memory; with ``n_permutations=0`` it has ``rsa`` alone, lazy if an input is.
        Of RDMs with themselves a model at one and the same time is NaN, in all variables.

    Warns
    -----
    UserWarning
        RDMs of the same trials are compared: noise that lasts makes them alike too.
    RuntimeWarning
        As ``calibrate``, and ``rsa``.

    Raises
    ------
    SchemaError, ValueError
        As ``calibrate_rsa``; RDMs without ``time``, or whose times are not in order.

    Notes
    -----
    Temporal generalisation (King & Dehaene 2014) of geometry instead of a decoder: a square block
    is a geometry that lasts, a diagonal a geometry that keeps changing. Every RDM is ranked once,
    and a permutation moves it once for all times of the other side; a task holds all RDMs, or two
    of them where they are more than 256 MiB in double. Similarities of all draws are kept: 8 bytes
    × permutations × times × times, for every pair of models.

    **Noise.** RDMs of the same trials are alike where their noise is: at one time exactly, and at
    near times as far as noise lasts. Labels that are permuted do not know it, and call that
    similarity significant. Give RDMs of two halves of the trials, or of two subjects; similarity
    is then smaller than without noise, but above 0 for what both have in common alone.

    A cluster says that there is an effect, not where its edge lies (Sassenhagen & Draschkow 2019).

    Examples
    --------
    >>> from xconverge import rdm
    >>> from xconverge.testing import planted_recording
    >>> study = planted_recording(n_stimuli=20, n_times=8, n_repetitions=6, rng=0)
    >>> trials = study["brain"]
    >>> odd, even = (rdm(trials.isel(repetition=slice(i, None, 2)).mean("repetition",
    ...     keep_attrs=True)) for i in (0, 1))
    >>> table = cross_temporal_rsa(odd, even, n_permutations=199, rng=0)
    >>> table["rsa"].dims
    ('time', 'time_2')
    >>> float(table["p_value_cluster"].min())
    0.005
    """
    choose("method", method, METHODS)
    whole("n_permutations", n_permutations, 0)
    check_draws(max(n_permutations, 1), alpha)
    callback("progress", progress)
    told, seed = seed_of(rng)
    itself = rdm_b is None or rdm_b is rdm_a
    if itself:
        warnings.warn(
            "rdm_a is compared with itself: noise of the same trials makes its RDMs alike at near "
            "times, and the p-values count that too. Give RDMs of two halves of the trials, or of "
            "another subject, as rdm_a and rdm_b",
            UserWarning,
            stacklevel=2,
        )
    a = _timed(rdm_a, "rdm_a")
    b = on_side(a if itself else _timed(rdm_b, "rdm_b"), "time", "_2")
    sides = with_models(a, b)
    family_of(None, *sides, clusters=TIMES)  # times out of order have no neighbours
    family = family_of(over, *sides)
    # all times of a side are its models: what a permutation moves is moved once
    held = sum(8 * side[{d: 0 for d in set(side.dims) - HELD}].size for side in sides)
    together = held <= BUDGETS.many_models
    one, other = (_stacked(a, "time"), _stacked(b, "time_2")) if together else (a, b)
    own = _same(*sides) if itself else None
    parameters: dict[str, Any] = {
        "metric": method, "strata": strata_name(strata), "blocks": strata_name(blocks),
        "itself": int(itself) or None, **pairing_attrs(a, b),
    }  # fmt: skip
    if not n_permutations:
        scores = _apart(rsa(one, other, method), sides, together)
        scores = scores if own is None else scores.where(~own)
        return described({"rsa": scores.squeeze(_absent(a, b, scores))}, **parameters)
    one, other, _ = join_controls(one, other, (), method)
    draws, exact, done = permuted_rdms(
        one, other, (), method, n_permutations, seed,
        progress or Report(f"cross_temporal_rsa {method}"), strata, blocks,
    )  # fmt: skip
    draws = _apart(draws, sides, together)
    exact = None if exact is None else _apart(exact, sides, together)
    parameters |= {"n_permutations": done, "alpha": alpha, "seed": told}
    table = table_of(draws, "rsa", exact, 1.0, Rsa.min_stimuli, family, parameters, own)
    return table.squeeze(_absent(a, b, table))


def _timed(rdms: object, what: str) -> xr.DataArray:
    """RDMs (…, time, stimulus, stimulus_2) whose times are told apart."""
    array = check_dims(rdms, "time", "stimulus", "stimulus_2", what=what)
    if "time_2" in array.dims:
        raise SchemaError(
            f"{what} has the dim 'time_2', which results have for the times of rdm_b: .rename it"
        )
    if "time" in array.indexes and array.indexes["time"].has_duplicates:
        twice = array.indexes["time"]
        raise SchemaError(
            f"{what} has the same label on 'time' twice: {listing(twice[twice.duplicated()])}; "
            "average these, or choose one of them"
        )
    return array


def _absent(a: xr.DataArray, b: xr.DataArray, result: xr.DataArray | xr.Dataset) -> list[str]:
    """Dims of a result that stand for models which a side does not have."""
    sides = zip(PAIRS, (a, b), strict=True)
    return [dim for dim, side in sides if "model" not in side.dims and dim in result.dims]


def _stacked(side: xr.DataArray, time: str) -> xr.DataArray:
    """Every model at every time as a model (``model``), named by both."""
    models = names_along(side, "model").values if "model" in side.dims else [""]
    times = names_along(side, time).values
    names = [f"{name}{' at ' if name else ''}time {at}" for name in models for at in times]
    plain = side.drop_vars([n for n, c in side.coords.items() if {"model", time} & {n, *c.dims}])
    dims = [dim for dim in ("model", time) if dim in side.dims]
    whole = plain.stack({"_all": dims}, create_index=False).rename(_all="model")
    return whole.assign_coords(model=np.array(names, dtype=object))


def _apart(scores: xr.DataArray, sides: Sequence[xr.DataArray], stacked: bool) -> xr.DataArray:
    """Scores (…, model_a, model_b, time, time_2), of models that were ``_stacked`` or not."""
    dims = ("model_a", "time", "model_b", "time_2")
    if stacked:
        lead = [str(dim) for dim in scores.dims if dim not in PAIRS]
        scores = scores.transpose(*lead, *PAIRS)
        sizes = [
            side.sizes[dim]
            for dim, side in zip(dims, [s for s in sides for _ in TIMES], strict=True)
        ]
        data = scores.data.reshape(*scores.shape[:-2], *sizes)
        kept = {n: c.variable for n, c in scores.coords.items() if not {*PAIRS} & {n, *c.dims}}
        scores = xr.DataArray(data, dims=(*lead, *dims), coords=kept)
        for side in sides:
            # coordinates of further dims come with the scores: sides may have them in other orders
            own = {n: c for n, c in side.coords.items() if c.dims and {*c.dims} <= {*dims}}
            scores = carried(scores, own)
    last = [dim for dim in (*PAIRS, *TIMES) if dim in scores.dims]
    return scores.transpose(..., *last)


def _same(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Where a model meets itself at the same time (model_a, model_b, time, time_2)."""
    models, times = (
        xr.DataArray(np.eye(a.sizes[one], dtype=bool), dims=(one, other))
        for one, other in (PAIRS, TIMES)
    )
    return models & times
