"""Which null a test of maps over stimuli has, and what it needs to know of the stimuli."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.resampling import blocks_of, strata_name, strata_of, tell_few
from xconverge.inference.geometry import structure, warn_of_missing_side
from xconverge.kernels.nulls import Stimuli
from xconverge.kernels.related_maps import Fields, field_factor, morans
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import several
from xconverge.labels.joins import stimulus_rank
from xconverge.labels.messages import SchemaError, choose
from xconverge.labels.variables import describe

Groups = str | xr.DataArray | Sequence[str | xr.DataArray]
Geometry = xr.DataArray | Sequence[xr.DataArray]

HOLDS = {
    "mixed": "maps that are smooth over the geometry or alike inside groups, with even noise",
    "surrogates": "dispersion that is a smooth Gaussian field over the geometry and groups",
    "blocks": "blocks that are exchangeable: blocks are not alike, whatever lies inside them",
    "labels": "stimuli that are exchangeable: no categories, no near-duplicates, no smooth maps",
}
"""For what stimuli the p-values of each null hold."""


@dataclass(frozen=True)
class Null:
    """A null by name, and what it needs: all over the stimuli of the maps, in their order."""

    name: str
    squares: Sequence[xr.DataArray]
    codes: Sequence[xr.DataArray]
    strata: xr.DataArray
    blocks: xr.DataArray
    attrs: dict[str, Any]

    @property
    def rank(self) -> xr.DataArray:
        """Rank (stimulus) of every label."""
        return stimulus_rank(self.strata)

    @cached_property
    def arrays(self) -> list[xr.DataArray]:
        """What `kernels.nulls.Stimuli.of` needs in a task: in memory made once, for all maps."""
        parts = [*self._plain, *self.squares, *self.codes]
        if any(part.chunks is not None for part in parts):
            return parts
        made = np.empty((), object)
        made[()] = Stimuli.of([part.values for part in parts], len(self.squares))
        return [xr.DataArray(made)]

    @property
    def core(self) -> list[list[str]]:
        """Their core dims."""
        return [list(map(str, part.dims)) for part in self.arrays]

    @property
    def _plain(self) -> list[xr.DataArray]:
        """Rank, strata and blocks (stimulus)."""
        return [
            self.rank, *(part.drop_vars(part.coords) for part in (self.strata, self.blocks))
        ]  # fmt: skip

    def dealing(self, dispersion: xr.DataArray) -> tuple[list[xr.DataArray], list[list[str]]]:
        """What `kernels.nulls.orders_of` needs in a task, and their core dims.

        The field of surrogates is fitted here, once, to ``dispersion`` ([model, ]stimulus), which
        is in memory.
        """
        arrays, core = self._plain, [["stimulus"]] * 3
        if self.name == "surrogates":
            n = dispersion.sizes["stimulus"]
            lead = [dim for dim in dispersion.dims if dim != "stimulus"]
            factor = apply(
                _factor, dispersion, *self.arrays, core=[[*map(str, lead), "stimulus"], *self.core],
                out=[["_row", "_column"]], sizes={"_row": n, "_column": n},
                n_squares=len(self.squares),
            )  # fmt: skip
            arrays, core = [*arrays, factor.compute()], [*core, ["_row", "_column"]]
        return arrays, core

    def told(self, dispersion: xr.DataArray, alignment: xr.DataArray) -> dict[str, xr.DataArray]:
        """How alike neighbouring stimuli are in two maps (stimulus), and what that leaves.

        ``n_effective``, ``moran_i`` of alignment, ``dispersion_moran_i``; NaN without a geometry.
        """
        names = ("n_effective", "moran_i", "dispersion_moran_i")
        parts = apply(
            _told, dispersion, alignment, *self.arrays,
            core=[["stimulus"]] * 2 + self.core, out=[[]] * 3, dtypes=[np.float64] * 3,
            n_squares=len(self.squares),
        )  # fmt: skip
        return {name: describe(part, name) for name, part in zip(names, parts, strict=True)}


def null_of(
    null: str | Null | None,
    maps: Sequence[xr.DataArray],
    *,
    usual: str,
    geometry: Geometry = (),
    groups: Groups = (),
    blocks: str | xr.DataArray | None = None,
    strata: str | xr.DataArray | None = None,
    made_from: tuple[xr.DataArray, xr.DataArray] | None = None,
) -> Null:
    """The null that was asked for, or the one that holds with what there is.

    Parameters
    ----------
    null : str or Null, optional
        One of HOLDS, or what was made for other maps of these stimuli. By default ``"blocks"``
        where blocks are given, the ``usual`` one where geometry or groups are, else ``"labels"``,
        with a warning.
    maps : sequence of DataArray
        With the stimuli, and the coordinates that may be named.
    usual : {"mixed", "surrogates"}
        What the statistic at hand takes: a regression the first, anything else the second.
    geometry, groups, blocks, strata
        As in ``modulation``.
    made_from : tuple of DataArray, optional
        Dispersion and alignment, whose modalities must be among the geometries.
    """
    if isinstance(null, Null):
        of = null.strata.indexes["stimulus"]
        if not all(of.equals(one.indexes["stimulus"]) for one in maps):
            raise SchemaError("null= was made for other stimuli, or for another order of them")
        return null
    places, kinds = several("geometry", geometry), several("groups", groups)
    there = bool(places or kinds)
    sides = [*maps, *(one for one in places if "stimulus" in getattr(one, "dims", ()))]
    inside = strata_of(strata, sides)
    whole = blocks_of(blocks, sides, inside)
    if null is not None:
        # only a regression has a mixed model
        name = choose("null", null, [one for one in HOLDS if one != "mixed" or usual == one])
    else:
        name = "blocks" if whole is not None else usual if there else "labels"
        if name == "labels":
            warnings.warn(
                f"stimulus labels are permuted, and the p-values hold for {HOLDS['labels']}. On "
                "real sets they call most maps related that are not. Give geometry=, every "
                "representation that a map was made from, and groups=; or say null='labels'",
                UserWarning,
                stacklevel=3,
            )
    _refuse(name, there, whole is not None, inside is not None)
    tell_few(whole, inside)
    if places and made_from is not None:
        warn_of_missing_side(places, *made_from)
    squares, codes = structure(places, kinds, maps)
    index = maps[0].indexes["stimulus"]
    none = xr.DataArray(np.zeros(len(index), np.int64), dims="stimulus", coords={"stimulus": index})
    return Null(
        name,
        squares,
        codes,
        none if inside is None else inside.reset_coords(drop=True),
        none + np.arange(len(index)) if whole is None else whole.reset_coords(drop=True),
        {
            "null": name,
            "null_holds_for": HOLDS[name],
            "strata": strata_name(strata),
            "blocks": strata_name(blocks),
            "n_geometries": len(places) or None,
            "groups": [str(strata_name(one)) for one in kinds] or None,
        },
    )


def _refuse(name: str, there: bool, blocks: bool, strata: bool) -> None:
    """Say what a null lacks, or has no use for."""
    if name in ("mixed", "surrogates") and not there:
        raise ValueError(
            f"null={name!r} needs geometry=, every representation that a map was made from, or "
            "groups=, categories of the stimuli"
        )
    if blocks != (name == "blocks"):
        raise ValueError(
            f"null={name!r} and blocks= "
            + ("given: blocks move in null='blocks' alone" if blocks else "not given: which move?")
        )
    if strata and name not in ("labels", "blocks"):
        raise ValueError(
            f"strata= are of null='labels' and 'blocks', got null={name!r}; say null='labels' to "
            "permute inside them, or give groups= instead"
        )


def moran_of(values: xr.DataArray, null: Null, name: str) -> xr.DataArray:
    """Moran's I of maps (…, stimulus) over the geometry; NaN where there is none."""
    found: xr.DataArray = apply(
        _moran, values, *null.arrays, core=[["stimulus"], *null.core], n_squares=len(null.squares)
    )
    return describe(found, name)


def _moran(values: Array, *arrays: Array, n_squares: int) -> Array:
    stimuli = Stimuli.of(arrays, n_squares)
    return np.asarray(morans(values[None, stimuli.order], stimuli.likeness)[0])


def _told(x: Array, y: Array, *arrays: Array, n_squares: int) -> tuple[float, float, float]:
    if not n_squares:
        return np.nan, np.nan, np.nan
    stimuli = Stimuli.of(arrays, n_squares)
    x, y = x[stimuli.order], y[stimuli.order]
    size = Fields(x[None], y, np.empty((1, 0, len(x))), stimuli.likeness, 0).n_effective(
        np.isfinite(x) & np.isfinite(y)
    )
    of_y, of_x = morans(np.stack([y, x]), stimuli.likeness)
    return size, of_y, of_x


def _factor(maps: Array, *arrays: Array, n_squares: int) -> Array:
    """Factor (n, n) of the field of maps ([M, ]n), in the order of labels; NaN for none."""
    stimuli = Stimuli.of(arrays, n_squares)
    rows = np.atleast_2d(maps)[:, stimuli.order]
    factor = field_factor(rows, np.empty((1, 0, rows.shape[1])), stimuli.likeness, 0)
    return np.full((rows.shape[1],) * 2, np.nan) if factor is None else factor
