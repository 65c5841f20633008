"""The RSA of many neighbourhoods of features, a block of neighbourhoods a task."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import dask.base
import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.names import names_along, side_names, tell_pairs
from xconverge.engine.names import place as place_of
from xconverge.engine.neighborhoods import CENTER, Neighborhoods, counted
from xconverge.engine.pair import seen_of
from xconverge.engine.progress import Report
from xconverge.engine.resources import check_memory, client, workers
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.correlation import Method
from xconverge.kernels.searchlight import (
    EQUAL,
    FLAT,
    Block,
    Targets,
    neighborhood_rsa,
    targets_of,
)
from xconverge.kernels.vectors import Array, Metric
from xconverge.labels.checks import rounding_of, widths
from xconverge.labels.coordinates import carried, set_aside
from xconverge.labels.joins import join_extra, on_side
from xconverge.labels.messages import SchemaError, listing

BIN = "_bin"
SQUARE = ("stimulus", "stimulus_2")


class How(NamedTuple):
    """What is compared, and how."""

    metric: Metric
    method: Method
    min_features: int
    bins: xr.DataArray | None
    n_bins: int


def searched(
    reps: xr.DataArray, target: xr.DataArray, hoods: Neighborhoods, how: How
) -> tuple[xr.DataArray, xr.DataArray]:
    """RSA (model_a, …, model_b, …, center, BIN) of neighbourhoods, and their features.

    ``reps`` and ``target`` are over the same stimuli in one order. Lazy where one of them is: a
    task for each block of neighbourhoods and model, which reads the features of the block alone.
    In memory several blocks are done by dask's threads, with progress.
    """
    for dim in (CENTER, *([] if how.bins is None else ["bin"])):
        for array, what in ((reps, "reps"), (target, "target")):
            if dim in array.dims:
                raise SchemaError(
                    f"{what} has the dim {dim!r}, which the result has too: .rename({dim}=…)"
                )
    reps = set_aside(reps, [CENTER, "model_b", *SQUARE])
    target = join_extra(reps, on_side(target, "model", "_b"), ("reps", "target"))
    width = widths(reps)
    counts = counted(hoods, width)
    _tell_few(hoods, counts, how.min_features)
    own = [str(d) for d in target.dims if d not in reps.dims and d not in SQUARE]
    n = reps.sizes["stimulus"]
    need = 6 * max(8 * n * n, BUDGETS.gather_block)
    lazy = reps.chunks is not None or target.chunks is not None
    what = f"The RDM of a neighbourhood over {n:,} stimuli"
    check_memory(need, hoods.count, what, "fewer stimuli (.isel), or bins of them")
    targets = _targets(reps, target, own, how)
    sizes = {name: target.sizes[name] for name in own}
    parts = list(hoods.blocks(n))
    whole = reps
    if reps.chunks is None and (lazy or len(parts) > 1):
        # blocks side by side; a name of its own, for dask would read all values to make one
        whole = reps.chunk({}, token=uuid.uuid4().hex)
    found = []
    for part, block in parts:
        pair = apply(
            partial(_block, told=hoods.names[part] if lazy else None),
            whole.isel(feature=block.columns),
            width,
            targets,
            core=[["stimulus", "feature"], [], []],
            out=[[CENTER, *own, BIN], [CENTER]],
            sizes={CENTER: part.stop - part.start, **sizes, BIN: how.n_bins},
            dtypes=[np.float64, np.int8],
            labels=("model", "stimulus"),
            block=block,
            metric=how.metric,
            method=how.method,
            min_features=how.min_features,
            share=rounding_of(reps),
        )
        found.append(pair)
    if not lazy:
        found = _done(found, parts[-1][0].stop)
        whys = [why for _, why in found]
        _tell_why(hoods.names, np.concatenate([w.values for w in whys], axis=-1))
    scores = [set_aside(one, [CENTER, BIN]) for one, _ in found]
    rsa = xr.concat(scores, CENTER, coords="minimal", compat="override", join="exact")
    rsa = _labelled(rsa, target, own)
    order = [d for d in rsa.dims if d not in (CENTER, BIN)]
    rsa = on_side(rsa.transpose(*order, CENTER, BIN), "model", "_a")
    counts = on_side(counts, "model", "_a")
    return carried(rsa, hoods.coords), carried(counts, hoods.coords)


def _labelled(rsa: xr.DataArray, target: xr.DataArray, own: Sequence[str]) -> xr.DataArray:
    """RSA with the coordinates of the target along the dims that it alone has."""
    coords: dict[Hashable, xr.DataArray] = {
        name: coord
        for name, coord in target.coords.items()
        if coord.dims and set(coord.dims) <= set(own)
    }
    return carried(rsa, coords)


def _targets(
    reps: xr.DataArray, target: xr.DataArray, own: Sequence[str], how: How
) -> xr.DataArray:
    """Targets (…, model) as each model is compared with them, one object each."""
    lead = [str(d) for d in reps.dims if d not in ("model", "stimulus", "feature")]
    lead += [str(d) for d in target.dims if d not in (*lead, *own, *SQUARE, "model")]
    bins = [] if how.bins is None else [how.bins.reset_coords(drop=True).drop_vars("stimulus")]
    names = _target_names(target, own)
    result: xr.DataArray = apply(
        partial(_prepared, own=len(own), names=names, lead=lead, binned=bool(bins)),
        seen_of(reps).drop_vars("stimulus"),
        target.reset_coords(drop=True).drop_vars([*SQUARE, *own], errors="ignore"),
        *bins,
        side_names(reps, "model"),
        *(names_along(reps if d in reps.dims else target, d) for d in lead),
        core=[
            ["stimulus"],
            [*own, *SQUARE],
            *(["stimulus"] for _ in bins),
            [],
            *([] for _ in lead),
        ],
        dtypes=[object],
        n_bins=how.n_bins,
        method=how.method,
    )
    return result


def _target_names(target: xr.DataArray, own: Sequence[str]) -> list[str]:
    """Names of all targets along the dims that they alone have."""
    if not own:
        return [str(side_names(target, "model_b").item())]
    labels = [names_along(target, dim).values for dim in own]
    return [
        " ".join(str(labels[k][at]) for k, at in enumerate(position))
        for position in np.ndindex(*(len(one) for one in labels))
    ]


def _prepared(
    seen: Array,
    target: Array,
    *more: Any,
    own: int,
    names: Sequence[str],
    lead: Sequence[str],
    binned: bool,
    n_bins: int,
    method: Method,
) -> Targets:
    bins = more[0] if binned else None
    model, *places = more[int(binned) :]
    where = f" in all neighbourhoods{place_of(lead, places)}"
    tell = partial(tell_pairs, [model], names, where)
    assert target.ndim == own + 2
    return targets_of(seen, target, bins, n_bins, method, tell)


def _block(
    x: Array, width: Array, targets: Targets, *, told: Array | None, block: Block, **options: Any
) -> tuple[Array, Array]:
    """The block's RSA, and why there is none; names of centres are told where nobody else does."""
    scores, why = neighborhood_rsa(x, int(width), targets, block, **options)
    if told is not None:
        _tell_why(told, why)
    return scores, why


def _done(
    parts: Sequence[tuple[xr.DataArray, xr.DataArray]], total: int
) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """What is in memory, computed a few blocks at a time in threads of this process."""
    if all(array.chunks is None for pair in parts for array in pair):
        return list(parts)
    report = Report("searchlight")
    # the values are here: no cluster is sent them, but another scheduler that was named is heard
    named = {} if client() is None else {"scheduler": "threads"}
    done: list[tuple[xr.DataArray, xr.DataArray]] = []
    step = 4 * workers()[0]
    for start in range(0, len(parts), step):
        (few,) = dask.base.compute(list(parts[start : start + step]), **named)
        done += few
        report(min(total, sum(one.sizes[CENTER] for one, _ in done)), total)
    return done


def _tell_few(hoods: Neighborhoods, counts: xr.DataArray, least: int) -> None:
    """Warn of neighbourhoods with too few features, whose RSA is NaN."""
    few = np.less(counts.values, least).reshape(-1, hoods.count)
    if not few.any():
        return
    some = few.any(0)
    of_models = "" if few.all(0)[some].all() else " of some models"
    warnings.warn(
        f"{some.sum()} of {hoods.count} neighbourhoods have fewer than {least} features"
        f"{of_models}: NaN at center {_few_names(hoods.names[some])}; give larger neighbourhoods, "
        "or a smaller min_features",
        RuntimeWarning,
        stacklevel=5,
    )


def _tell_why(names: Array, why: Array) -> None:
    """Warn of neighbourhoods (…, C) without RSA, by the reason."""
    reasons = {
        FLAT: "stimuli whose features are all equal there (all 0 for cosine), which have no "
        "direction: leave these features out, or take rdm_metric='euclidean'",
        EQUAL: "distances that are all equal",
    }
    for code, reason in reasons.items():
        some = np.equal(why, code).reshape(math.prod(why.shape[:-1]), -1).any(0)
        if some.any():
            warnings.warn(
                f"{some.sum()} of {len(names)} neighbourhoods have {reason}: NaN at center "
                f"{_few_names(names[some])}",
                RuntimeWarning,
                stacklevel=2,
            )


def _few_names(names: Array) -> str:
    if all(isinstance(name, int | np.integer) for name in names):
        few = ", ".join(str(name) for name in names[:5])
        return few if len(names) <= 5 else f"{few}, … ({len(names)} in all)"
    return listing(names)
