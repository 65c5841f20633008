"""Alignment with neighbours searched inside subsets of the stimuli."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import seen_of
from xconverge.engine.progress import Report, in_blocks
from xconverge.kernels.subsets import inside_chances, inside_scores
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.joins import on_side, stimulus_rank

SUBSETS_AT_ONCE = 50


def scores_inside(a: xr.DataArray, b: xr.DataArray, members: Array, k: int) -> xr.DataArray:
    """Mutual-kNN (subset, model_a, model_b) inside subsets ``members`` (P, n), in memory.

    A task holds the features of all models and fifty subsets. An interrupt gives those done.
    """
    parts, core = [], []
    for side, what in ((a, "a"), (b, "b")):
        real = widths(side, what)
        if "model" not in real.dims:
            real = real.expand_dims({"model": side.indexes["model"]})
        features = f"feature_{what}"
        rows = side.rename({"feature": features}).drop_vars("stimulus")
        parts += [on_side(part, "model", f"_{what}") for part in (rows, real)]
        core += [[f"model_{what}", "stimulus", features], [f"model_{what}"]]
    blocks = -(-len(members) // SUBSETS_AT_ONCE)
    # a block is of one size: the last one is filled up with the first subsets, cut off below
    filled = members[np.arange(blocks * SUBSETS_AT_ONCE) % len(members)]
    chosen = xr.DataArray(
        filled.reshape(blocks, SUBSETS_AT_ONCE, -1), dims=("_block", "_member", "stimulus")
    )
    result = apply(
        inside_scores,
        chosen.chunk({"_block": 1}),
        stimulus_rank(a),
        *(part.reset_coords(drop=True) for part in parts),
        core=[["_member", "stimulus"], ["stimulus"], *core],
        out=[["_member", "model_a", "model_b"]],
        k=k,
    )
    report = Report("neighbours inside subsets")
    done = in_blocks(result, "_block", SUBSETS_AT_ONCE, len(members) - 1, report)
    flat: xr.DataArray = done.stack(subset=("_block", "_member"), create_index=False).transpose(
        "subset", ...
    )
    return flat[: len(members)]


def chances_inside(a: xr.DataArray, b: xr.DataArray, members: Array, k: int) -> xr.DataArray:
    """What unrelated models score (subset, model_a, model_b) inside subsets, in memory.

    Every pair among the members that both models saw; NaN, as the score is, where they are too few.
    """
    seen = [on_side(seen_of(side), "model", f"_{w}") for side, w in ((a, "a"), (b, "b"))]
    result: xr.DataArray = apply(
        inside_chances,
        xr.DataArray(members, dims=("subset", "stimulus")),
        *(side.drop_vars("stimulus") for side in seen),
        core=[["subset", "stimulus"], *([f"model_{w}", "stimulus"] for w in "ab")],
        out=[["subset", "model_a", "model_b"]],
        k=k,
    )
    return result.transpose("subset", ...).compute()
