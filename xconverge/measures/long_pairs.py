"""Pairs of models too long for one task: scores from sums over blocks of stimuli."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import xarray as xr

from xconverge.engine.apply import CURE, apply, one_chunk
from xconverge.engine.blockwise import ROW, are_many, handles, is_long, on_stimuli
from xconverge.engine.resources import SMALL, check_memory
from xconverge.kernels import long as kernels
from xconverge.kernels import long_maps
from xconverge.kernels import tiles as tile_kernels
from xconverge.labels.checks import widths
from xconverge.labels.joins import natural_rank, on_side
from xconverge.measures.tiles import Side, over_tiles


def are_long(a: xr.DataArray, b: xr.DataArray) -> bool:
    """Whether models of either side are too long for one task."""
    return is_long(a) or is_long(b)


def come_in_tiles(a: xr.DataArray, b: xr.DataArray) -> bool:
    """Whether one task cannot hold a long model, or all models of a side."""
    return are_long(a, b) or are_many(a) or are_many(b)


def have_sums(a: xr.DataArray, b: xr.DataArray, folds: int) -> bool:
    """Whether models are long, and products of features for every fold smaller than both sides."""
    return are_long(a, b) and all(
        side.sizes["stimulus"] > folds * side.sizes["feature"] for side in (a, b)
    )


def linear_cka(a: xr.DataArray, b: xr.DataArray, debiased: bool) -> xr.DataArray:
    """CKA of linear kernels: two passes over each model, one over each pair."""
    parts: list[xr.DataArray] = []
    core: list[list[str]] = []
    for side, what in ((a, "a"), (b, "b")):
        inside = f"feature_{what}"
        own = partial(kernels.own_hsic, debiased=debiased)
        out = [[inside], [], ["stimulus"], []]
        parts += _of_side(side, what, own, out, [float, float, bool, float])
        core += [[], [], [inside], [], ["stimulus"], []]
    result: xr.DataArray = apply(kernels.linear_cka, *parts, core=core, debiased=debiased)
    return result


def procrustes(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Angle between models, from their cross-products: one pass over each pair."""
    parts: list[xr.DataArray] = []
    core: list[list[str]] = []
    for side, what in ((a, "a"), (b, "b")):
        inside = f"feature_{what}"
        parts += _of_side(
            side, what, kernels.moments, [[inside], [], ["stimulus"]], [float, float, bool]
        )
        core += [[], [], [inside], [], ["stimulus"]]
    result: xr.DataArray = apply(kernels.angle, *parts, core=core)
    return result


def svcca(
    a: xr.DataArray, b: xr.DataArray, number: xr.DataArray, n_components: int
) -> xr.DataArray:
    """Mean canonical correlation: one pass over each model, one over each pair."""
    n_folds = max(int(number.max()) + 1, 1)
    _check_products(n_folds, (a, a), (b, b))
    parts: list[xr.DataArray] = []
    core: list[list[str]] = []
    for side, what in ((a, "a"), (b, "b")):
        inside = f"feature_{what}"
        parts += _of_side(
            side,
            what,
            partial(long_maps.components, n_components=n_components),
            [[inside], ["_fold", inside, "_score"], ["stimulus"]],
            [float, float, bool],
            number,
            sizes={"_fold": n_folds, "_score": n_components},
        )
        core += [[], [], [inside], ["_fold", inside, "_score"], ["stimulus"]]
    result: xr.DataArray = apply(
        long_maps.canonical_correlation, *parts, number, core=[*core, ["stimulus"]]
    )
    return result


def linear_predictivity(
    a: xr.DataArray, b: xr.DataArray, fold: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray]:
    """Held-out r and R²: one pass over each model, one over each pair; a task for each source."""
    _check_products(int(fold.max()) + 1, (a, a), (a, b))
    sources, targets = (
        _of_side(
            side,
            what,
            kernels.moments,
            [[f"feature_{what}"], [], ["stimulus"]],
            [float, float, bool],
        )
        for side, what in ((a, "a"), (b, "b"))
    )
    them = "model_b"
    targets = [
        one_chunk(part, [them])
        if them in part.dims
        else part.expand_dims({them: b.indexes["model"].values})
        for part in targets
    ]
    r, r2 = apply(
        long_maps.held_out_scores,
        *sources,
        *targets,
        fold,
        core=[
            [], [], ["feature_a"], [], ["stimulus"],
            [them], [them], [them, "feature_b"], [them], [them, "stimulus"],
            ["stimulus"],
        ],
        out=[[them], [them]],
        dtypes=[float, float],
    )  # fmt: skip
    return r, r2


def _check_products(n_folds: int, *pairs: tuple[xr.DataArray, xr.DataArray]) -> None:
    """Refuse products of features, for every fold and a few more, that do not fit."""
    sizes = [(x.sizes["feature"], y.sizes["feature"]) for x, y in pairs]
    need = 8 * (n_folds + 4) * sum(wide * width for wide, width in sizes)
    if need > SMALL:
        features = " and ".join(f"{wide:,} × {width:,}" for wide, width in sizes)
        check_memory(
            need,
            pairs[0][0].sizes["model"],
            f"A task with the products of {features} features by fold",
            CURE,
        )


def rbf_cka(a: xr.DataArray, b: xr.DataArray, debiased: bool, sigma: float) -> xr.DataArray:
    """CKA of RBF kernels: every kernel is formed once a tile, in blocks."""
    sides = []
    for side, what in ((a, "a"), (b, "b")):
        rank = xr.DataArray(natural_rank(side.indexes["stimulus"]), dims="stimulus")
        scale = partial(tile_kernels.rbf_scale, sigma=sigma)
        found = _of_models(side, what, scale, [["stimulus"], []], [bool, float], rank)
        sides.append(Side(side, "model", found, [[], [], ["stimulus"], []]).ending(f"_{what}"))
    kernel = partial(tile_kernels.rbf_totals, debiased=debiased)
    sums = over_tiles(kernel, sides, "_sum", n_sums=9).sum(ROW)
    result: xr.DataArray = apply(
        partial(tile_kernels.rbf_cka, debiased=debiased), sums, core=[["_sum"]]
    )
    return result


def row_correlations(a: xr.DataArray, b: xr.DataArray, metric: str) -> xr.DataArray:
    """Correlation of row i of the two RDMs, per stimulus."""
    kernel = partial(tile_kernels.rdm_correlations, metric=metric)
    return on_stimuli(over_tiles(kernel, _rdm_sides(a, b, metric), ROW), a)


def own_row_correlations(reps: xr.DataArray, metric: str) -> xr.DataArray:
    """The same for every pair of models of one set: (model, model_2, stimulus)."""
    side = _rdm_side(reps, metric, "reps")
    kernel = partial(tile_kernels.rdm_correlations, metric=metric)
    return on_stimuli(over_tiles(kernel, [side, side.ending("_2")], ROW), reps)


def rdm_similarity(a: xr.DataArray, b: xr.DataArray, metric: str, centered: bool) -> xr.DataArray:
    """Pearson's correlation, or the cosine, of two RDMs that are never formed."""
    kernel = partial(tile_kernels.rdm_totals, metric=metric)
    sums = over_tiles(kernel, _rdm_sides(a, b, metric), "_sum", n_sums=6).sum(ROW)
    result: xr.DataArray = apply(
        partial(tile_kernels.rdm_similarity, centered=centered), sums, core=[["_sum"]]
    )
    return result


def _rdm_sides(a: xr.DataArray, b: xr.DataArray, metric: str) -> list[Side]:
    return [_rdm_side(side, metric, what).ending(f"_{what}") for side, what in ((a, "a"), (b, "b"))]


def _rdm_side(reps: xr.DataArray, metric: str, what: str) -> Side:
    there = partial(tile_kernels.there, metric=metric)
    parts = _of_models(reps, what, there, [["stimulus"]], [bool])
    return Side(reps, "model", parts, [[], [], ["stimulus"]])


def _of_side(side: xr.DataArray, what: str, *how: Any, **sizes: Any) -> list[xr.DataArray]:
    """What ``_of_models`` gives, for this side of a pair."""
    parts = _of_models(side, what, *how, **sizes)
    return [on_side(part, "model", f"_{what}") for part in parts]


def _of_models(
    side: xr.DataArray,
    what: str,
    kernel: Callable[..., Any],
    out: Sequence[Sequence[str]],
    dtypes: Sequence[Any],
    *more: xr.DataArray,
    sizes: Mapping[str, int] | None = None,
) -> list[xr.DataArray]:
    """Handles and widths of the models of a side, and what a kernel says of each."""
    rows, real = handles(side), widths(side, what).broadcast_like(side["model"])
    found = apply(
        kernel,
        rows,
        real,
        *more,
        core=[[], [], *(["stimulus"] for _ in more)],
        out=out,
        sizes={
            f"feature_{what}": side.sizes["feature"],
            "stimulus": side.sizes["stimulus"],
            **(sizes or {}),
        },
        dtypes=dtypes,
        labels=("model", "stimulus"),
        named=side,
        what=what,
    )
    return [rows, real, *(found if isinstance(found, tuple) else (found,))]
