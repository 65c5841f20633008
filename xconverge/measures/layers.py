"""One score for two networks of several layers each, without the optimism of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import DRAW
from xconverge.kernels import layers as kernels
from xconverge.labels.checks import group_numbers
from xconverge.labels.coordinates import set_aside, with_own
from xconverge.labels.messages import SchemaError


def networks(reps: xr.DataArray, what: str) -> xr.DataArray:
    """Every layer a model, with the coordinate ``network``; a dim ``layer`` is stacked."""
    if "layer" in reps.dims:
        labels = (
            reps.coords["layer"].values if "layer" in reps.coords else range(reps.sizes["layer"])
        )
        names = [f"{m} {name}" for m in reps.indexes["model"] for name in labels]
        owners = np.repeat(np.asarray(reps.indexes["model"], dtype=object), reps.sizes["layer"])
        reps = set_aside(reps, ["network"])
        flat = reps.stack({"_layer": ("model", "layer")}, create_index=False)
        flat = flat.drop_vars(["model", "layer"], errors="ignore").rename({"_layer": "model"})
        return flat.assign_coords(
            {"model": np.array(names, dtype=object), "network": ("model", owners)}
        ).transpose(..., "model", "stimulus", "feature")
    if "network" not in reps.coords or reps.coords["network"].dims != ("model",):
        raise SchemaError(
            f"layers=… needs to know which models of {what} are layers of one network: a dim "
            "'layer', or a coordinate 'network' on 'model'; there is neither"
        )
    return reps


def on_halves(pair: Pair, score: Callable[[Pair], xr.DataArray], sign: int) -> xr.DataArray:
    """Score of the best pair of layers, chosen on one half of the stimuli, scored on the other.

    ``sign`` is -1 where the best is the smallest. Halves follow the labels.
    """
    n = pair.a.sizes["stimulus"]
    first = np.random.default_rng(pair.seed).permutation(n)[pair.rank.values] < n // 2
    select, other = (score(pair.isel(half)) for half in (first, ~first))
    result = _over_networks(kernels.chosen, [select, other], [(), ()], (pair.a, pair.b), sign)
    return result.assign_attrs({**other.attrs, "n_chosen_on": n // 2, "n_scored_on": n - n // 2})


def maximum(draws: xr.DataArray, a: xr.DataArray, b: xr.DataArray, sign: int) -> xr.DataArray:
    """Draws (draw, model_a, model_b) of the best pair of layers, the observed one first."""
    return _over_networks(kernels.maxima, [draws], [(DRAW,)], (a, b), sign)


def _over_networks(
    kernel: Callable[..., Any],
    scores: Sequence[xr.DataArray],
    lead: Sequence[tuple[str, ...]],
    reps: tuple[xr.DataArray, xr.DataArray],
    sign: int,
) -> xr.DataArray:
    """What a kernel makes of scores of layers: of networks, with the names of their layers."""
    sides = ["model_a", "model_b"]
    found = [group_numbers(side, "network") for side in reps]
    outputs = apply(
        kernel,
        *(sign * part for part in scores),
        *(xr.DataArray(of, dims=side) for side, (of, _) in zip(sides, found, strict=True)),
        core=[*([*first, *sides] for first in lead), *([side] for side in sides)],
        out=[[*lead[0], "_a", "_b"], ["_a", "_b"], ["_a", "_b"]],
        sizes={f"_{w}": len(owners) for w, (_, owners) in zip("ab", found, strict=True)},
        dtypes=[np.float64, np.int64, np.int64],
    )
    result, *layers = (part.rename({"_a": sides[0], "_b": sides[1]}) for part in outputs)
    named = {
        name: _label(part, own.indexes["model"])
        for name, part, own in zip(("layer_a", "layer_b"), layers, reps, strict=True)
    }
    owners = {side: values for side, (_, values) in zip(sides, found, strict=True)}
    whole: xr.DataArray = with_own((sign * result).assign_coords(owners), named)
    return whole


def _label(positions: xr.DataArray, labels: pd.Index) -> xr.DataArray:
    """Names at these positions, empty at -1."""
    names = np.append(np.asarray(labels, dtype=object), "")
    named: xr.DataArray = apply(names.__getitem__, positions, core=[[]], dtypes=[object])
    return named
