"""P-values corrected for the number of tests, over the dims of a result that are named."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.resampling import DRAW
from xconverge.kernels import multiplicity as kernels
from xconverge.labels.arguments import text
from xconverge.labels.kinds import came
from xconverge.labels.messages import choose

CORE = ("stimulus", "stimulus_2", "feature")
TIMES = ("time", "time_2")
"""Dims that are ordered by their meaning: they have clusters wherever they are corrected over."""
Over = str | Sequence[str] | None


class Family(NamedTuple):
    """Dims of a result that are tested together, and the ordered ones with clusters, if any."""

    dims: tuple[str, ...]
    clusters: tuple[str, ...] = ()


def family_of(
    over: Over,
    *sides: xr.DataArray,
    more: Sequence[str] = (),
    clusters: Over = None,
    name: str = "over",
) -> Family:
    """The dims ``over`` of a result, all of them by default, refused where it has none such.

    A result has the dims of its inputs ``sides`` but stimuli and features, and ``more``. Asked
    before a long run, not after it. ``clusters`` are the ordered dims, ``time`` and ``time_2`` by
    default. ``name`` is what the argument is called.
    """
    there = [str(d) for side in sides for d in side.dims if d not in CORE]
    dims = list(dict.fromkeys([*more, *there]))
    if over is None:
        wanted = dims
    elif isinstance(over, str):
        wanted = [over]
    elif isinstance(over, list | tuple) and over and all(isinstance(d, str) for d in over):
        wanted = list(over)
    else:
        raise TypeError(
            f"{name} must be the name of a dim of the result, several of them in a list, or None "
            f"for all ({', '.join(dims) or 'it has none'}); got {name}={came(over)}"
        )
    for dim in wanted:
        choose(name, dim, dims)
    if clusters is None:
        ordered = [dim for dim in TIMES if dim in wanted and _in_order(dim, sides)]
    elif not isinstance(clusters, str | list | tuple) or not clusters:
        raise TypeError(
            "clusters must be the name of an ordered dim of the result, or several of them in a "
            f"list; got clusters={came(clusters)}"
        )
    else:
        ordered = [clusters] if isinstance(clusters, str) else list(clusters)
        for dim in ordered:
            text("clusters", dim, "the name of an ordered dim of the result, or a list of them")
            choose("clusters", dim, wanted)
            if not _in_order(dim, sides):
                raise ValueError(
                    f"clusters={dim!r} are of neighbouring bins, and {dim!r} is not in "
                    f"order: .sortby({dim!r}) first"
                )
    return Family(tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(ordered)))


def _in_order(dim: str, sides: Sequence[xr.DataArray]) -> bool:
    """Whether the labels of a dim, if they are numbers or times, go up or down."""
    indexes = [side.indexes[dim] for side in sides if dim in side.indexes]
    return all(
        index.dtype.kind not in "iufmM"
        or index.is_monotonic_increasing
        or index.is_monotonic_decreasing
        for index in indexes
    )


def adjusted(
    draws: xr.DataArray,
    p_value: xr.DataArray,
    family: Family,
    *,
    tail: str = "greater",
    alpha: float = 0.05,
    prefix: str = "",
    tell: bool = True,
    stacklevel: int = 3,
) -> dict[str, xr.DataArray]:
    """P-values (dims of ``p_value``) corrected over a family; every other dim has its own.

    ``p_value_bh`` and ``p_value_by`` (false discovery), ``p_value_max_t`` and, with
    ``family.clusters``, ``p_value_cluster`` (family-wise error), after a ``prefix``. Lazy in lazy
    input.

    Parameters
    ----------
    draws : DataArray
        (draw, …): the statistic, the observed one first; permutation d is the same for all tests.
    p_value : DataArray
        One by one.
    family : Family
        As ``family_of`` gives it.
    tail : {"greater", "less", "two-sided"}
        Which statistics are extreme.
    alpha : float
        Of the bins that stand out in a cluster, and of the warning.
    prefix : str
        Before the names.
    tell : bool
        Whether to warn; without any permutation there is nothing to warn of.
    stacklevel : int
        Of the warning, as seen from here.

    Warns
    -----
    RuntimeWarning
        Corrections that a single effect in a family could not pass, and nothing did, with the
        permutations needed: many effects together may pass false discovery with fewer.
    """
    dims = [dim for dim in family.dims if dim in p_value.dims]
    result = {
        f"{prefix}p_value_{name}": _over(
            partial(kernels.false_discovery, dependent=dependent), p_value, dims, dims
        ).transpose(*p_value.dims)
        for name, dependent in (("bh", False), ("by", True))
    }
    result[f"{prefix}p_value_max_t"] = _over(
        partial(kernels.max_adjusted, tail=tail), draws, [DRAW, *dims], dims
    ).transpose(*p_value.dims)
    used: list[kernels.Correction] = ["bh", "by", "max_t"]
    ordered = [dim for dim in family.clusters if dim in dims]
    if ordered:
        last = [*(dim for dim in dims if dim not in ordered), *ordered]
        result[f"{prefix}p_value_cluster"] = _over(
            partial(kernels.cluster_mass, tail=tail, alpha=alpha, ordered=len(ordered)),
            draws, [DRAW, *last], last,
        ).transpose(*p_value.dims)  # fmt: skip
        used.append("cluster")
    if tell:
        size = math.prod(p_value.sizes[dim] for dim in dims)
        if p_value.chunks is None:  # of lazy ones it is not known which have a p-value, or pass
            size = int(p_value.notnull().sum(dims).max())
            used = [name for name in used if not (result[f"{prefix}p_value_{name}"] <= alpha).any()]
        tell_short(draws.sizes[DRAW] - 1, size, alpha, used, stacklevel + 1)
    return result


def _over(
    kernel: Callable[..., object], array: xr.DataArray, core: Sequence[str], out: Sequence[str]
) -> xr.DataArray:
    found: xr.DataArray = apply(kernel, array, core=[core], out=[out])
    return found


def tell_short(
    n_permutations: int,
    size: int,
    alpha: float,
    used: Sequence[kernels.Correction],
    stacklevel: int = 3,
) -> None:
    """Name the corrections that a single effect among ``size`` tests cannot pass, and their needs.

    The smallest p-value there can be is 1 / (1 + n_permutations).
    """
    needs = {name: kernels.least_draws(size, alpha, name) for name in used}
    short = {name: need for name, need in needs.items() if need > n_permutations}
    if size < 2 or not n_permutations or not short:
        return
    told = ", ".join(f"p_value_{name} ({need:,} needed)" for name, need in short.items())
    warnings.warn(
        f"{n_permutations:,} permutations are too few for a single effect among {size:,} tests to "
        f"pass, at {alpha:g}: {told}. Ask for more with n_permutations=, or for fewer tests "
        "together with over=",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
