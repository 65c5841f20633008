"""One score for two networks of several layers each, without the optimism of a maximum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels import layers as kernels
from xconverge.schema import Dims, SchemaError, natural_rank

Score = Callable[[xr.DataArray, xr.DataArray], xr.DataArray]
ALPHA = 0.05


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


def _numbers(reps: xr.DataArray, model: str, network: str, side: str) -> xr.DataArray:
    """Number of the network of every layer, networks in order of appearance."""
    numbers, _ = pd.factorize(np.asarray(reps.coords[network].values, dtype=object))
    return xr.DataArray(numbers, dims=f"{model}{side}")


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
    same way for all layers.
    """
    model, stimulus, _ = dims
    rng = np.random.default_rng(rng)
    rank = natural_rank(a.indexes[stimulus])
    mixed = rng.permutation(len(rank))[rank]
    numbers = [_numbers(a, model, network, "_a"), _numbers(b, model, network, "_b")]
    sides = [f"{model}_a", f"{model}_b"]
    core = [sides, [sides[0]], [sides[1]]]
    parameters: dict[str, object]
    if how == "half":
        first, second = mixed < len(rank) // 2, mixed >= len(rank) // 2
        halves = [
            score(a.isel({stimulus: half}), b.isel({stimulus: half})) for half in (first, second)
        ]
        attrs = halves[1].attrs
        value, layer_a, layer_b = apply(
            kernels.chosen,
            *(sign * half for half in halves),
            *numbers,
            core=[sides, *core],
            out=[["_a", "_b"]] * 3,
            sizes={"_a": int(numbers[0].max()) + 1, "_b": int(numbers[1].max()) + 1},
            dtypes=[np.float64, np.int64, np.int64],
        )
        extra = {}
        parameters = {"n_chosen_on": int(first.sum()), "n_scored_on": int(second.sum())}
    else:
        order = np.argsort(rank)
        null = []
        for _ in range(n_permutations):
            moved = np.empty_like(order)
            moved[order] = order[rng.permutation(len(order))]
            labels = b.coords[stimulus]
            null.append(
                sign * score(a, b.isel({stimulus: moved}).assign_coords({stimulus: labels}))
            )
        observed = score(a, b)
        attrs = observed.attrs
        value, layer_a, layer_b, p_value, threshold = apply(
            kernels.maximum,
            sign * observed,
            xr.concat(null, "_null", coords="minimal", compat="override", join="exact"),
            *numbers,
            core=[sides, ["_null", *sides], *core[1:]],
            out=[["_a", "_b"]] * 5,
            sizes={"_a": int(numbers[0].max()) + 1, "_b": int(numbers[1].max()) + 1},
            dtypes=[np.float64, np.int64, np.int64, np.float64, np.float64],
            alpha=ALPHA,
        )
        extra = {"p_value": p_value, "threshold": sign * threshold}
        parameters = {"n_permutations": n_permutations, "alpha": ALPHA}
    result: xr.DataArray = (sign * value).rename({"_a": sides[0], "_b": sides[1]})
    names = [pd.unique(np.asarray(side.coords[network].values, dtype=object)) for side in (a, b)]
    extra |= {
        "layer_a": _label(layer_a, a.indexes[model]),
        "layer_b": _label(layer_b, b.indexes[model]),
    }
    renamed = {
        name: value.rename({"_a": sides[0], "_b": sides[1]}).drop_vars(sides, errors="ignore")
        for name, value in extra.items()
    }
    result = result.assign_coords(dict(zip(sides, names, strict=True)))
    result.attrs = {**attrs, **parameters}
    return result.assign_coords(renamed)


def _label(positions: xr.DataArray, labels: pd.Index) -> xr.DataArray:
    names = np.append(np.asarray(labels, dtype=object), "")
    named: xr.DataArray = xr.apply_ufunc(
        lambda where: names[where], positions, dask="parallelized", output_dtypes=[object]
    )
    return named
