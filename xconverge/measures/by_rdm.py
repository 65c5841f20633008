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
from xconverge.labels.checks import check_shared, widths
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, choose
from xconverge.measures import long_pairs
from xconverge.measures.rdm import DISTANCES, METHODS, make_rdm, prepared_rows, rsa_null
from xconverge.measures.rdm import rsa as compare_rdms


def rdm(a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation") -> xr.DataArray:
    """Correlation of row i of the two RDMs, per stimulus."""
    choose("rdm_metric", rdm_metric, METRICS)
    if long_pairs.come_in_tiles(a, b):
        long = long_pairs.row_correlations(a, b, rdm_metric)
        return long.assign_attrs(rdm_metric=rdm_metric)
    rows = [
        on_side(prepared_rows(side, rdm_metric, what), "model", f"_{what}").rename(
            {"feature": f"feature_{what}"}
        )
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        row_correlations,
        *rows,
        core=[[f"model_{w}", "stimulus", f"feature_{w}"] for w in ("a", "b")],
        out=[["model_a", "model_b", "stimulus"]],
        metric=rdm_metric,
    )
    return result.assign_attrs(rdm_metric=rdm_metric)


def rsa(
    a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation", method: str = "spearman"
) -> xr.DataArray:
    """Similarity of the two RDMs."""
    choose("rdm_metric", rdm_metric, DISTANCES)
    choose("method", method, METHODS)
    attrs = {"rdm_metric": rdm_metric, "method": method}
    if method in ("pearson", "cosine") and long_pairs.come_in_tiles(a, b):
        similar = long_pairs.rdm_similarity(a, b, rdm_metric, method == "pearson")
        return similar.assign_attrs(attrs)
    rdm_a, rdm_b = (make_rdm(side, rdm_metric, what) for side, what in ((a, "a"), (b, "b")))
    result = compare_rdms(rdm_a, rdm_b, method)
    result.attrs = attrs
    return result


def cosine(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Cosine of the two vectors of a stimulus in one shared space."""

    def cosines(part: slice) -> xr.DataArray:
        rows_a, rows_b = _unit_rows(a.isel({"stimulus": part}), b.isel({"stimulus": part}))
        rows = on_side(rows_a, "model", "_a"), on_side(rows_b, "model", "_b")
        result: xr.DataArray = apply(
            row_cosines, *rows, core=[["stimulus", "feature"]] * 2, out=[["stimulus"]]
        )
        return result

    result = by_rows(b if a.chunks is None else a, cosines)
    return result.assign_coords({**a["stimulus"].coords, **b["stimulus"].coords})


def _unit_rows(a: xr.DataArray, b: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Unit rows of both sides of one shared space."""
    for side in (a, b):
        check_shared(side, "metric='cosine'")
    width = {int(np.max(widths(side))) for side in (a, b)}
    if len(width) > 1:
        raise SchemaError(
            f"metric='cosine' needs both sides in one shared space, they have {sorted(width)} "
            "features; use 'mutual_knn' or 'rdm' for unrelated spaces"
        )
    real = {"feature": slice(width.pop())}
    return (
        prepared_rows(a.isel(real), "cosine", "a"),
        prepared_rows(b.isel(real), "cosine", "b"),
    )


def _rdm_null(a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation") -> Recipe:
    choose("rdm_metric", rdm_metric, METRICS)
    return Recipe(moved.row_null, *_rdm_parts(a, b, rdm_metric), chance=0.0)


def _rsa_null(
    a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation", method: str = "spearman"
) -> Recipe:
    choose("rdm_metric", rdm_metric, DISTANCES)
    choose("method", method, METHODS)
    return rsa_null(*_rdm_parts(a, b, rdm_metric), method)


def _rdm_resampled(a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation") -> Recipe:
    return replace(_rdm_null(a, b, rdm_metric=rdm_metric), scores=resampled.rows)


def _rsa_resampled(
    a: xr.DataArray, b: xr.DataArray, *, rdm_metric: str = "correlation", method: str = "spearman"
) -> Recipe:
    recipe = _rsa_null(a, b, rdm_metric=rdm_metric, method=method)
    return replace(recipe, scores=resampled.rsa)


def _cosine_resampled(a: xr.DataArray, b: xr.DataArray) -> Recipe:
    return replace(_cosine_null(a, b), scores=resampled.cosines)


def _rdm_parts(a: xr.DataArray, b: xr.DataArray, metric: str) -> tuple[list[Part], list[Part]]:
    core = ["stimulus", "stimulus_2"]
    return (
        [(make_rdm(a, metric, "a"), core)],
        [(make_rdm(b, metric, "b"), core)],
    )


def _cosine_null(a: xr.DataArray, b: xr.DataArray) -> Recipe:
    parts_a, parts_b = ([(rows, ["stimulus", "feature"])] for rows in _unit_rows(a, b))
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
