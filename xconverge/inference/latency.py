"""When an effect in time begins, and when it is largest."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import real, text
from xconverge.labels.checks import check_table
from xconverge.labels.messages import SchemaError, choose, listing, shown
from xconverge.labels.variables import described

SCORES = ("rsa", "alignment", "mean_correlation", "correlation", "correlation_of_mean")
"""What results over time hold, the one that is taken by default first."""


def p_name(score: str, correction: str) -> str:
    """What a result calls the corrected p-value of one of SCORES."""
    before = "mean_" if score.startswith("mean_") else ""
    after = "_of_mean" if score.endswith("_of_mean") else ""
    return f"{before}p_value_{correction}{after}"


def scored_over_time(
    table: object, score: str | None, correction: str, what: str = "table"
) -> tuple[str, xr.DataArray, xr.DataArray]:
    """Name of a score in a result over time, its values, and their corrected p-values."""
    choose("correction", correction, ["cluster", "max_t", "bh", "by"])
    given = check_table(table, what=what, made="calibrate_rsa(…) or modulation(…)")
    there = [name for name in SCORES if name in given and "time" in given[name].dims]
    if not there:
        raise SchemaError(
            f"{what} has no score over 'time': it needs one of {', '.join(SCORES)} with this dim, "
            "as calibrate, calibrate_rsa, binned_rsa and modulation give it for inputs that have it"
        )
    if score is None:
        score = there[0]
    choose("score", text("score", score), there)
    name = p_name(score, correction)
    if name not in given.variables:
        raise SchemaError(
            f"{what} has no {name!r}, the corrected p-values of {score!r}: compute it with "
            "permutations, with 'time' among the dims of over=, and times in order"
        )
    return score, given[score], given[name].reset_coords(drop=True)


def times_of(values: xr.DataArray, dim: str = "time") -> Array:
    """Labels of a dim that are times: numbers or dates."""
    labels = values[dim].values if dim in values.indexes else np.array([], dtype=object)
    if labels.dtype.kind not in "iufmM":
        raise SchemaError(
            f"times are labels of {dim!r}, which must have numbers or dates, and has "
            f"{listing(labels) or 'none'}; give them with .assign_coords({dim}=[…])"
        )
    return np.asarray(labels)


def extremes(values: xr.DataArray, table: xr.Dataset) -> xr.DataArray:
    """Values so that what a test of this result calls extreme is large."""
    tail = table.attrs.get("tail", "less" if values.attrs.get("kind") == "distance" else "greater")
    return abs(values) if tail == "two-sided" else values if tail == "greater" else -values


def latency(
    table: xr.Dataset,
    score: str | None = None,
    *,
    correction: str = "cluster",
    alpha: float = 0.05,
) -> xr.Dataset:
    """Onset and peak of an effect in time, from its corrected p-values.

    Parameters
    ----------
    table : Dataset
        Over ``time``: what ``calibrate``, ``calibrate_rsa``, ``binned_rsa`` or ``modulation``
        returned for inputs with times.
    score : str, optional
        Which of its variables: by default the first of ``rsa``, ``alignment``,
        ``mean_correlation``, ``correlation`` and ``correlation_of_mean`` that it has over time.
    correction : {"cluster", "max_t", "bh", "by"}
        Which corrected p-values say that a bin is significant.
    alpha : float
        At which rate.

    Returns
    -------
    Dataset
        ``onset``, the first significant bin (with ``"cluster"``, the first bin of the first
        significant cluster), and ``peak``, the significant bin of the most extreme score (largest;
        smallest for distances; farthest from 0 in two-sided tests), as labels of ``time``, over the
        other dims of the score; ``n_significant`` bins. NaN (NaT) where none is. In memory.

    Warns
    -----
    RuntimeWarning
        Where no bin is significant, by name.

    Raises
    ------
    SchemaError, ValueError
        A result without times, labels of ``time`` that are no numbers or dates, corrected p-values
        that the result does not have.

    Notes
    -----
    What is tested is whether there is an effect. That a cluster is significant says nothing about
    its first bin, which noise before the effect can join, and weak effects leave (Sassenhagen
    & Draschkow 2019). ``correction="max_t"`` tests every bin: at its onset there is an effect, at
    error rate alpha, and it comes late where power is low. Neither has an interval here: subjects
    or sessions that are scored apart give one.

    Examples
    --------
    >>> from xconverge import calibrate_rsa, rdm
    >>> from xconverge.testing import planted_recording
    >>> study = planted_recording(n_stimuli=24, n_times=11, rng=0)
    >>> brain = rdm(study["brain"].mean("repetition", keep_attrs=True))
    >>> table = calibrate_rsa(rdm(study["early"]), brain, n_permutations=199, rng=0)
    >>> latency(table, correction="max_t")["onset"].values.round(3).tolist()
    [0.05, 0.05, 0.05]
    """
    real("alpha", alpha, above=0, below=1)
    score, values, p_value = scored_over_time(table, score, correction)
    labels = times_of(values)
    values, p_value = values.compute(), p_value.compute()
    found = p_value <= alpha
    large = extremes(values, table).where(found, -np.inf)
    some = found.any("time")
    if not some.all():
        _tell_none(some, score, correction, alpha)
    firsts = {"onset": found.argmax("time"), "peak": large.argmax("time")}
    arrays = {
        name: some.copy(data=labels[first.values]).where(some) for name, first in firsts.items()
    }
    arrays["n_significant"] = found.sum("time")
    return described(arrays, score=score, correction=correction, alpha=alpha)


def _tell_none(some: xr.DataArray, score: str, correction: str, alpha: float) -> None:
    """Warn of what has no latency, by its labels."""
    dims = [str(dim) for dim in some.dims]
    names: list[Any] = []
    for at in np.argwhere(~some.values):
        names.append(" × ".join(
            str(some[dim].values[i]) if dim in some.indexes else f"{dim} {i}"
            for dim, i in zip(dims, at, strict=True)
        ))  # fmt: skip
    whose = f" for {listing(names)}" if dims else ""
    warnings.warn(
        f"no bin of {shown(score)} has p_value_{correction} up to {alpha:g}{whose}: the latency is "
        "NaN",
        RuntimeWarning,
        stacklevel=3,
    )
