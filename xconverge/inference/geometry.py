"""Where stimuli lie and which belong together: what tests of maps over stimuli have to know."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.rdms import checked_rdms
from xconverge.engine.resampling import strata_of
from xconverge.labels.checks import check_representations, is_graph
from xconverge.labels.joins import join_all
from xconverge.labels.messages import SchemaError
from xconverge.measures.rdm import rdm

SQUARES: dict[str, Callable[[Any], Any]] = {
    "euclidean": np.square,
    "sqeuclidean": lambda distance: distance,
    # of unit rows |x - y|² = 2 (1 - cos)
    "cosine": lambda distance: 2 * distance,
    "correlation": lambda distance: 2 * distance,
}
"""Squared distances from those of an RDM, by its metric."""
NO_PLACES = (
    "A graph says who is near and not how near, and kernels made of lists reject true nulls too "
    "often (docs/atlas.md): give geometry= representations or RDMs of the models that the maps "
    "were made from (of each side their mean RDM is enough), or say null='labels' or 'blocks'"
)
"""Why a graph is no geometry, and what is."""


def squares_of(geometry: xr.DataArray) -> xr.DataArray:
    """Mean squared distances (stimulus, stimulus_2) of representations, or from their RDMs.

    Of unit rows for representations. An RDM whose metric is not known holds plain distances.
    Lazy if the input is.
    """
    if "stimulus_2" in geometry.dims:
        known = checked_rdms(geometry, "geometry")
        square = SQUARES.get(str(geometry.attrs.get("metric")), np.square)(known)
    else:
        # in double: distances rounded to single are those of no space, and have no covariance
        square = 2 * rdm(check_representations(geometry, "geometry").astype(np.float64), "cosine")
    others = [dim for dim in square.dims if dim not in ("stimulus", "stimulus_2")]
    mean: xr.DataArray = square.mean(others).astype(np.float64)
    return mean.reset_coords(drop=True)


def structure(
    geometry: Sequence[xr.DataArray],
    groups: Sequence[str | xr.DataArray],
    maps: Sequence[xr.DataArray],
) -> tuple[list[xr.DataArray], list[xr.DataArray]]:
    """Squared distances (stimulus, stimulus_2) of each geometry, codes (stimulus) of each category.

    In the order of the stimuli of the first map. ``maps`` and ``geometry`` are where coordinates
    named in ``groups`` are looked for.
    """
    first = maps[0]
    squares = []
    for number, one in enumerate(geometry):
        if not isinstance(one, xr.DataArray) or "stimulus" not in one.dims:
            raise SchemaError(
                f"geometry {number} must be representations (model, stimulus, feature) or an RDM "
                f"(stimulus, stimulus_2), got {type(one).__name__}; give each side of the maps, "
                "geometry=(vision, language)"
            )
        if is_graph(one):
            raise SchemaError(f"geometry {number} is a neighbour graph. {NO_PLACES}")
        square = squares_of(one)
        (_, square), _ = join_all("exact", maps=first, **{f"geometry {number}": square})
        squares.append(square)
    codes = [strata_of(name, [*maps, *geometry], "groups") for name in groups]
    return squares, [one.reset_coords(drop=True) for one in codes if one is not None]


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
