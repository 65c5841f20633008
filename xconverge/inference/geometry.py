"""Where stimuli lie and which belong together: what tests of maps over stimuli have to know."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.rdms import checked_rdms
from xconverge.engine.resampling import strata_of
from xconverge.kernels.mixed_model import Likeness
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_representations
from xconverge.labels.joins import join_all, join_labels
from xconverge.labels.messages import SchemaError
from xconverge.measures.rdm import rdm

SIDE, CATEGORY = "_geometry", "_category"
SQUARES: dict[str, Callable[[Any], Any]] = {
    "euclidean": np.square,
    "sqeuclidean": lambda distance: distance,
    # of unit rows |x - y|² = 2 (1 - cos)
    "cosine": lambda distance: 2 * distance,
    "correlation": lambda distance: 2 * distance,
}
"""Squared distances from those of an RDM, by its metric."""


def squares_of(geometry: xr.DataArray) -> xr.DataArray:
    """Mean squared distances (stimulus, stimulus_2) of representations, or from their RDMs.

    Of unit rows for representations. An RDM whose metric is not known holds plain distances.
    Lazy if the input is.
    """
    if "stimulus_2" in geometry.dims:
        known = checked_rdms(geometry, "geometry")
        square = SQUARES.get(str(geometry.attrs.get("metric")), np.square)(known)
    else:
        square = 2 * rdm(check_representations(geometry, "geometry"), "cosine")
    others = [dim for dim in square.dims if dim not in ("stimulus", "stimulus_2")]
    mean: xr.DataArray = square.mean(others).astype(np.float64)
    return mean.reset_coords(drop=True)


def structure(
    geometry: xr.DataArray | Sequence[xr.DataArray],
    groups: str | xr.DataArray | Sequence[str | xr.DataArray],
    maps: Sequence[xr.DataArray],
) -> tuple[xr.DataArray, xr.DataArray]:
    """Squared distances (_geometry, stimulus, stimulus_2) and codes (_category, stimulus).

    In the order of the stimuli of the first map. The first of either is blank: dask maps over no
    empty dim. ``maps`` and ``geometry`` are where coordinates named in ``groups`` are looked for.
    """
    given = [geometry] if isinstance(geometry, xr.DataArray) else list(geometry)
    named = [groups] if isinstance(groups, str | xr.DataArray | pd.Series) else list(groups)
    first = maps[0]
    index = first.indexes["stimulus"]
    blank = xr.DataArray(
        np.zeros((len(index), len(index))),
        dims=("stimulus", "stimulus_2"),
        coords={"stimulus": index, "stimulus_2": index.rename("stimulus_2")},
    )
    squares = [blank]
    for number, one in enumerate(given):
        if not isinstance(one, xr.DataArray) or "stimulus" not in one.dims:
            raise SchemaError(
                f"geometry {number} must be representations (model, stimulus, feature) or an RDM "
                f"(stimulus, stimulus_2), got {type(one).__name__}; give each side of the maps, "
                "geometry=(vision, language)"
            )
        square = squares_of(one)
        (_, square), _ = join_all("exact", maps=first, **{f"geometry {number}": square})
        squares.append(square)
    codes = [
        xr.DataArray(np.zeros(len(index), np.int64), dims="stimulus", coords={"stimulus": index})
    ]
    for name in named:
        sides = [*maps, *(_by_stimulus(one, first) for one in given)]
        numbers = strata_of(name, sides, "groups")
        assert numbers is not None
        codes.append(numbers.reset_coords(drop=True))
    options: dict[str, Any] = {"coords": "minimal", "compat": "override", "join": "exact"}
    return xr.concat(squares, SIDE, **options), xr.concat(codes, CATEGORY, **options)


def _by_stimulus(one: xr.DataArray, first: xr.DataArray) -> xr.DataArray:
    """A geometry in the order of the first map, for its coordinates."""
    return join_labels(first, one, "stimulus", "exact", ("maps", "geometry"))[1]


def likeness(squares: Array, codes: Array) -> Likeness:
    """What a kernel makes of `structure`: squares (1 + g, n, n) and codes (1 + c, n)."""
    return Likeness(list(squares[1:]), list(codes[1:]))


def warn_of_missing_side(
    geometry: Sequence[xr.DataArray], dispersion: xr.DataArray, alignment: xr.DataArray
) -> None:
    """Say so where a modality that a map was made from is not among the geometries."""
    known = {one.attrs.get("modality") for one in geometry}
    needed = {
        dispersion.attrs.get("modality"),
        alignment.attrs.get("modality_a"),
        alignment.attrs.get("modality_b"),
    } - {None}
    missing = sorted(map(str, needed - known))
    if missing and (len(geometry) < 2 or None not in known):
        warnings.warn(
            f"geometry= lacks {', '.join(missing)}, which the maps were made from: maps that are "
            "smooth over it alone are then found related too often. Give every side, "
            "geometry=(vision, language) say",
            UserWarning,
            stacklevel=3,
        )
