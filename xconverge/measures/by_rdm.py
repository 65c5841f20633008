"""Alignment by representational geometry, and by coordinates that are shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import by_rows
from xconverge.engine.measure import Measure, Part, Recipe
from xconverge.kernels import moved, resampled
from xconverge.kernels.rdm import row_correlations
from xconverge.kernels.vectors import METRICS, row_cosines
from xconverge.labels.checks import Dims, check_shared, widths
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, choose
from xconverge.measures import long_pairs
from xconverge.measures.rdm import DISTANCES, METHODS, make_rdm, prepared_rows, rsa_null
from xconverge.measures.rdm import rsa as compare_rdms


def rdm(
    a: xr.DataArray, b: xr.DataArray, dims: Dims, *, rdm_metric: str = "correlation"
) -> xr.DataArray:
    """Correlation of row i of the two RDMs, per stimulus."""
    choose("rdm_metric", rdm_metric, METRICS)
    model, stimulus, feature = dims
    if long_pairs.come_in_tiles(a, b, dims):
        long = long_pairs.row_correlations(a, b, dims, rdm_metric)
        return long.assign_attrs(rdm_metric=rdm_metric)
    rows = [
        on_side(prepared_rows(side, dims, rdm_metric, what), model, f"_{what}").rename(
            {feature: f"{feature}_{what}"}
        )
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        row_correlations,
        *rows,
        core=[[f"{model}_{w}", stimulus, f"{feature}_{w}"] for w in ("a", "b")],
        out=[[f"{model}_a", f"{model}_b", stimulus]],
        metric=rdm_metric,
    )
    return result.assign_attrs(rdm_metric=rdm_metric)


def rsa(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: Dims,
    *,
    rdm_metric: str = "correlation",
    method: str = "spearman",
) -> xr.DataArray:
    """Similarity of the two RDMs."""
    choose("rdm_metric", rdm_metric, DISTANCES)
    choose("method", method, METHODS)
    model, stimulus, _ = dims
    attrs = {"rdm_metric": rdm_metric, "method": method}
    if method in ("pearson", "cosine") and long_pairs.come_in_tiles(a, b, dims):
        similar = long_pairs.rdm_similarity(a, b, dims, rdm_metric, method == "pearson")
        return similar.assign_attrs(attrs)
    rdm_a, rdm_b = (make_rdm(side, rdm_metric, dims, what) for side, what in ((a, "a"), (b, "b")))
    result = compare_rdms(rdm_a, rdm_b, method, model=model, stimulus=stimulus)
    result.attrs = attrs
    return result


def cosine(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> xr.DataArray:
    """Cosine of the two vectors of a stimulus in one shared space."""
    model, stimulus, feature = dims

    def cosines(part: slice) -> xr.DataArray:
        rows_a, rows_b = _unit_rows(a.isel({stimulus: part}), b.isel({stimulus: part}), dims)
        rows = on_side(rows_a, model, "_a"), on_side(rows_b, model, "_b")
        result: xr.DataArray = apply(
            row_cosines, *rows, core=[[stimulus, feature]] * 2, out=[[stimulus]]
        )
        return result

    result = by_rows(b if a.chunks is None else a, dims, cosines)
    return result.assign_coords({**a[stimulus].coords, **b[stimulus].coords})


def _unit_rows(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> tuple[xr.DataArray, xr.DataArray]:
    """Unit rows of both sides of one shared space."""
    model, _, feature = dims
    for side in (a, b):
        check_shared(side, "metric='cosine'", model, feature)
    width = {int(np.max(widths(side, feature))) for side in (a, b)}
    if len(width) > 1:
        raise SchemaError(
            f"metric='cosine' needs both sides in one shared space, they have {sorted(width)} "
            "features; use 'mutual_knn' or 'rdm' for unrelated spaces"
        )
    real = {feature: slice(width.pop())}
    return (
        prepared_rows(a.isel(real), dims, "cosine", "a"),
        prepared_rows(b.isel(real), dims, "cosine", "b"),
    )


def _rdm_null(
    a: xr.DataArray, b: xr.DataArray, dims: Dims, *, rdm_metric: str = "correlation"
) -> Recipe:
    choose("rdm_metric", rdm_metric, METRICS)
    return Recipe(moved.row_null, *_rdm_parts(a, b, dims, rdm_metric), chance=0.0)


def _rsa_null(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: Dims,
    *,
    rdm_metric: str = "correlation",
    method: str = "spearman",
) -> Recipe:
    choose("rdm_metric", rdm_metric, DISTANCES)
    choose("method", method, METHODS)
    return rsa_null(*_rdm_parts(a, b, dims, rdm_metric), method)


def _rdm_resampled(
    a: xr.DataArray, b: xr.DataArray, dims: Dims, *, rdm_metric: str = "correlation"
) -> Recipe:
    return replace(_rdm_null(a, b, dims, rdm_metric=rdm_metric), scores=resampled.rows)


def _rsa_resampled(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: Dims,
    *,
    rdm_metric: str = "correlation",
    method: str = "spearman",
) -> Recipe:
    recipe = _rsa_null(a, b, dims, rdm_metric=rdm_metric, method=method)
    return replace(recipe, scores=resampled.rsa)


def _cosine_resampled(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> Recipe:
    return replace(_cosine_null(a, b, dims), scores=resampled.cosines)


def _rdm_parts(
    a: xr.DataArray, b: xr.DataArray, dims: Dims, metric: str
) -> tuple[list[Part], list[Part]]:
    _, stimulus, _ = dims
    core = [stimulus, f"{stimulus}_2"]
    return (
        [(make_rdm(a, metric, dims, "a"), core)],
        [(make_rdm(b, metric, dims, "b"), core)],
    )


def _cosine_null(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> Recipe:
    _, stimulus, feature = dims
    parts_a, parts_b = ([(rows, [stimulus, feature])] for rows in _unit_rows(a, b, dims))
    return Recipe(moved.cosine_null, parts_a, parts_b, least=2)


MEASURES = {
    "cosine": Measure(
        cosine,
        per="stimulus",
        kind="similarity",
        formula="a_i·b_i / |a_i||b_i|",
        range="-1 to 1",
        chance="0 for independent centred vectors",
        invariant=("scale", "row norm"),
        cost="n d a pair",
        reference="",
        avoid="on features that are not in one shared space: it warns, and refuses other widths",
        null=_cosine_null,
        resampled=_cosine_resampled,
    ),
    "rdm": Measure(
        rdm,
        per="stimulus",
        kind="similarity",
        formula="Pearson correlation of row i of the two RDMs, i excluded",
        range="-1 to 1",
        chance="0",
        invariant=("scale", "row norm"),
        cost="n² d a model and n² a pair, in blocks",
        reference="Kriegeskorte, Mur & Bandettini (2008)",
        avoid="where few distant stimuli decide. It is invariant to what its `rdm_metric` is",
        null=_rdm_null,
        resampled=_rdm_resampled,
    ),
    "rsa": Measure(
        rsa,
        per="model pair",
        kind="similarity",
        formula="RSA by `method` of the RDMs by `rdm_metric`",
        range="-1 to 1",
        chance="0 on average; permute stimulus labels, never entries",
        invariant=("scale", "row norm"),
        cost="n² d and n² log n a model, n² a pair",
        reference="Kriegeskorte, Mur & Bandettini (2008)",
        avoid="with p-values of entries, which depend on each other. It is invariant to what its "
        "`rdm_metric` is",
        null=_rsa_null,
        resampled=_rsa_resampled,
    ),
}
