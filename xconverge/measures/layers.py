"""One score for two networks of several layers each, without the optimism of a maximum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels import layers as kernels
from xconverge.schema import Dims, SchemaError, group_numbers, natural_rank

Score = Callable[[xr.DataArray, xr.DataArray], xr.DataArray]
ALPHA = 0.05
DRAW = "_draw"


def networks(reps: xr.DataArray, what: str, dims: Dims, network: str, layer: str) -> xr.DataArray:
    """Every layer a model, with the coordinate ``network``; a dim ``layer`` is stacked."""
    model, _, _ = dims
    if layer in reps.dims:
        labels = reps.coords[layer].values if layer in reps.coords else range(reps.sizes[layer])
        names = [f"{m} {name}" for m in reps.indexes[model] for name in labels]
        owners = np.repeat(np.asarray(reps.indexes[model], dtype=object), reps.sizes[layer])
        flat = reps.stack({"_layer": (model, layer)}, create_index=False)
        flat = flat.drop_vars([model, layer], errors="ignore").rename({"_layer": model})
        return flat.assign_coords(
            {model: np.array(names, dtype=object), network: (model, owners)}
        ).transpose(..., *dims)
    if network not in reps.coords or reps.coords[network].dims != (model,):
        raise SchemaError(
            f"layers=… needs to know which models of {what} are layers of one network: a dim "
            f"{layer!r}, or a coordinate {network!r} on {model!r}; there is neither"
        )
    return reps


def best_layers(
    a: xr.DataArray,
    b: xr.DataArray,
    score: Score,
    how: str,
    sign: int,
    dims: Dims,
    network: str,
    n_permutations: int,
    rng: np.random.Generator | int | None,
) -> xr.DataArray:
    """Score of the best pair of layers, over networks instead of layers.

    ``half``: chosen on one half of the stimuli and scored on the other. ``max``: the maximum over
    all stimuli, with the p-value and the threshold of its null: stimulus labels of b permuted, the
    same way for all layers. ``sign`` is -1 where the best is the smallest.
    """
    model, stimulus, _ = dims
    sides = [f"{model}_a", f"{model}_b"]
    found = [group_numbers(reps, network, model) for reps in (a, b)]
    numbers = [xr.DataArray(of, dims=side) for side, (of, _) in zip(sides, found, strict=True)]
    draws = _halves if how == "half" else _null
    scores = draws(a, b, score, stimulus, np.random.default_rng(rng), n_permutations)
    observed, other = scores
    names = ["score", "layer_a", "layer_b", "p_value", "threshold"][: 3 if how == "half" else 5]
    outputs = apply(
        kernels.chosen if how == "half" else partial(kernels.maximum, alpha=ALPHA),
        *(sign * part for part in scores),
        *numbers,
        core=[
            sides,
            sides if how == "half" else [DRAW, *sides],
            *([side] for side in sides),
        ],
        out=[["_a", "_b"]] * len(names),
        sizes={f"_{w}": len(owners) for w, (_, owners) in zip("ab", found, strict=True)},
        dtypes=[np.float64, np.int64, np.int64, np.float64, np.float64][: len(names)],
    )
    parts = {
        name: part.rename({"_a": sides[0], "_b": sides[1]})
        for name, part in zip(names, outputs, strict=True)
    }
    result: xr.DataArray = sign * parts.pop("score")
    for side, reps in (("layer_a", a), ("layer_b", b)):
        parts[side] = _label(parts[side], reps.indexes[model])
    if how == "max":
        parts["threshold"] = sign * parts["threshold"]
        result.attrs = {**observed.attrs, "n_permutations": n_permutations, "alpha": ALPHA}
    else:
        n = a.sizes[stimulus]
        result.attrs = {**other.attrs, "n_chosen_on": n // 2, "n_scored_on": n - n // 2}
    owners = {side: values for side, (_, values) in zip(sides, found, strict=True)}
    return result.assign_coords(owners).assign_coords(parts)


def _halves(
    a: xr.DataArray, b: xr.DataArray, score: Score, stimulus: str, rng: np.random.Generator, _: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores of all layers on two random halves of the stimuli, which follow the labels."""
    rank = natural_rank(a.indexes[stimulus])
    first = rng.permutation(len(rank))[rank] < len(rank) // 2
    chosen, scored = (
        score(a.isel({stimulus: half}), b.isel({stimulus: half})) for half in (first, ~first)
    )
    return chosen, scored


def _null(
    a: xr.DataArray,
    b: xr.DataArray,
    score: Score,
    stimulus: str,
    rng: np.random.Generator,
    n_permutations: int,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores of all layers, and what they are when the stimuli of b are permuted."""
    order = np.argsort(natural_rank(a.indexes[stimulus]))
    null = []
    for _ in range(n_permutations):
        moved = np.empty_like(order)
        moved[order] = order[rng.permutation(len(order))]
        permuted = b.isel({stimulus: moved}).assign_coords({stimulus: b.coords[stimulus]})
        null.append(score(a, permuted))
    return score(a, b), xr.concat(null, DRAW, coords="minimal", compat="override", join="exact")


def _label(positions: xr.DataArray, labels: pd.Index) -> xr.DataArray:
    """Names at these positions, empty at -1."""
    names = np.append(np.asarray(labels, dtype=object), "")
    named: xr.DataArray = apply(names.__getitem__, positions, core=[[]], dtypes=[object])
    return named
