"""Tests whose null distribution has a closed form."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.kernels.permutations import overlap_tail
from xconverge.labels.checks import check_scores
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError
from xconverge.labels.variables import describe


def overlap_p_value(agreement: xr.DataArray) -> xr.DataArray:
    """Does a stimulus share more neighbours than chance would give it? Exact, without draws.

    Parameters
    ----------
    agreement : DataArray
        (…, stimulus), from ``alignment(metric="mutual_knn")``: it reads ``attrs["k"]`` and the
        coordinate ``chance``, which tells how many stimuli both models of a pair saw.

    Returns
    -------
    DataArray
        ``p_value`` (…, stimulus) in (0, 1]: the probability of at least that overlap of k out of
        n - 1 with k out of n - 1 others, n the stimuli that both models of the pair saw. NaN where
        there is no score. Lazy if ``agreement`` is.

    Raises
    ------
    SchemaError
        Not a mutual-kNN alignment.
    ValueError
        Means of it, when computed.

    Notes
    -----
    Hypergeometric(n - 1, k, k), exact for one stimulus whose label is permuted. Few distinct
    overlaps make it conservative. P-values of different stimuli depend on each other: their mean
    is tested by ``calibrate``, not by combining these.

    Examples
    --------
    >>> from xconverge import alignment
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=1, n_stimuli=40, rng=0)
    >>> p_value = overlap_p_value(alignment(study["vision"], study["language"], k=5))
    >>> p_value.dims, bool((p_value > 0).all() & (p_value <= 1).all())
    (('model_a', 'model_b', 'stimulus'), True)
    """
    agreement = check_scores(agreement, "stimulus", what="agreement")
    if agreement.attrs.get("metric") != "mutual_knn" or "k" not in agreement.attrs:
        raise SchemaError(
            "agreement must be what xconverge.alignment(metric='mutual_knn') returns, with its "
            f"attrs metric and k; got metric={agreement.attrs.get('metric')!r} of "
            f"{came(agreement)}"
        )
    k = int(agreement.attrs["k"])
    result = apply(
        overlap_tail,
        agreement,
        _pool_sizes(agreement, k),
        core=[["stimulus"], []],
        out=[["stimulus"]],
        k=k,
    )
    return describe(
        result.transpose(*agreement.dims), "p_value", metric="hypergeometric", k=k, tail="greater"
    )


def _pool_sizes(agreement: xr.DataArray, k: int) -> xr.DataArray:
    """How many stimuli (…) both models of a pair saw.

    Of chance k / (n - 1), since stimuli may have been left out of the scores; else those with one.
    """
    if "chance" in agreement.coords:
        sizes: xr.DataArray = np.round(k / agreement.coords["chance"].reset_coords(drop=True)) + 1
        return sizes
    return agreement.notnull().sum("stimulus")
