"""fMRI volumes behind a mask: images become trials × voxels, and scores become volumes again."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.io.formats._needs import BRIDGES, needs
from xconverge.io.formats._padding import Gaps
from xconverge.io.formats._places import Join, Place, by_place
from xconverge.io.formats._presentations import Repetitions
from xconverge.io.formats._reading import reading
from xconverge.io.formats._rows import lazy_rows
from xconverge.io.formats._stacked import representations
from xconverge.io.formats._trials import designs_of, of_trials, trials_of
from xconverge.io.paths import local_path
from xconverge.kernels.vectors import Array
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import float_dtype, floats
from xconverge.labels.text import label_text, one_label

INDICES, WORLD = ("i", "j", "k"), ("x", "y", "z")
AFFINE, SHAPE = "affine", "shape"
COMPRESSED = (".gz", ".bz2", ".zst", ".mgz")
IMAGE = "an image that nibabel reads"


def from_nifti(
    images: Any,
    mask: Any,
    stimuli: Any,
    *,
    stimulus: str = "stimulus_id",
    labels: Mapping[int, str] | None = None,
    repetition: str | None = None,
    repetitions: Repetitions = "error",
    model: str | None = None,
    gaps: Gaps | None = None,
    join: Join = "exact",
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of brain images and a mask: stimulus × voxel.

    Parameters
    ----------
    images : image, sequence of images, or dict of these
        Paths, or images of nibabel: one of four dims, or a sequence of three-dimensional ones (one
        a trial) or of four-dimensional ones (one a session). A dict has those of each subject,
        and gives the dim ``subject``.
    mask : image, dict of images, or NiftiMasker
        Voxels of the brain: an image of 0 and 1; of several numbers with ``labels``; a dict with a
        mask for each region; or a fitted ``nilearn.maskers.NiftiMasker``, which does to the images
        what it was told (smoothing, standardizing), and reads them all. For subjects with masks of
        their own, a dict of these by subject.
    stimuli : sequence, DataFrame, list of these, or dict of these
        What each image shows, in their order, as ``design`` of `from_trials`: ids, or a table with
        a column of them; a list has one for each session, a dict those of each subject.
    stimulus : str
        Column of the table with the ids of the stimuli.
    labels : dict, optional
        Regions of a mask with several numbers: ``{1: "V1", 2: "V2"}``. Other numbers are left out.
    repetition, repetitions
        What numbers the trials of a stimulus, and what to do with several, as in `from_trials`.
    model : str, optional
        Name of the only model, where there is one mask. Regions are models, and have their own.
    gaps : {"error", "drop"}, optional
        What to do with voxels that are NaN in some images, as in `from_xarray`. Those that are NaN
        in all images of a subject are its padding.
    join : {"exact", "inner", "outer"}
        What to do where subjects saw different stimuli, as in `from_trials`.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, [subject,] stimulus, feature[, repetition]). On ``feature``, and
        on model and subject where they differ, where a voxel lies: ``i``, ``j``, ``k`` in the
        image, ``x``, ``y``, ``z`` in mm. ``attrs["affine"]`` and ``attrs["shape"]`` are those of
        the images, where all have the same. Lazy for files, but for compressed ones with several
        volumes, which are read once, volume by volume.

    Raises
    ------
    ImportError
        nibabel is not installed.
    SchemaError
        A mask on another grid than the images, or images that differ: resample them first, as you
        think right (``nilearn.image.resample_to_img``). A mask of several numbers without
        ``labels``, or an empty one; as many ids as there are not images; what `from_trials`
        refuses.

    Notes
    -----
    Voxels are in the order of ``nilearn.masking.apply_mask``. Numbers are as nibabel scales them,
    and not rounded to float32. Surfaces (GIFTI, CIFTI) have no voxels: give their arrays to
    `from_trials`.

    Examples
    --------
    >>> import nibabel
    >>> affine = np.diag([2, 2, 2, 1])
    >>> images = nibabel.Nifti1Image(np.arange(24.0).reshape(2, 2, 2, 3), affine)
    >>> mask = nibabel.Nifti1Image(np.uint8([[[1, 1], [0, 0]], [[0, 0], [1, 1]]]), affine)
    >>> reps = from_nifti(images, mask, ["cat", "dog", "emu"], model="brain")
    >>> reps.sel(model="brain", stimulus="dog").values.tolist(), reps.z.values.tolist()
    ([1.0, 4.0, 19.0, 22.0], [0.0, 2.0, 0.0, 2.0])
    >>> to_nifti(reps.sel(stimulus="dog")).shape
    (2, 2, 2)
    """
    needs("nibabel", "from_nifti", BRIDGES)
    places = by_place(images, ("subject",), "images")
    designs = designs_of(stimuli, list(places))
    sets: dict[Place, xr.DataArray] = {}
    grids = []
    for place, given in places.items():
        who = f"images of {place[0]!r}" if place else "images"
        runs = [_image(one, f"{who}[{i}]") for i, one in enumerate(_listed(given))]
        grid = _grid(runs, who)
        regions = _regions(_mask_of(mask, place, places), labels, grid, who)
        where = np.unique(np.concatenate(list(regions.values())))
        responses = _responses(runs, mask, where, who)
        table, values = trials_of(designs[place], responses, stimulus, None, who)
        for region, voxels in regions.items():
            known = _voxels(voxels, grid)
            name = _name(model, who) if region is None else region
            columns = np.searchsorted(where, voxels)
            mine = values if len(columns) == len(where) else values[:, columns]
            what = f"{who}, {region}" if region else who
            sets[name, *place] = of_trials(
                mine, table, known, stimulus, repetition, repetitions, what
            )
        if model is not None and None not in regions:
            raise SchemaError(
                f"model={model!r} names the only model, and the regions {listing(regions)} are "
                "models with names of their own; leave it out"
            )
        grids.append(grid)
    reps = representations(sets, "images", gaps=gaps, join=join, modality=modality)
    if all(_same(grid, grids[0]) for grid in grids):
        reps = reps.assign_attrs({AFFINE: grids[0][0].tolist(), SHAPE: list(grids[0][1])})
    return reps


def _name(model: str | None, who: str) -> str:
    """The name of the only model."""
    if model is None:
        raise SchemaError(
            f"{who} do not say what they are called; name them with model='…', or regions of the "
            "mask with labels={1: '…'} or a dict of masks, which are models"
        )
    return one_label(model, "model")


Grid = tuple[Array, tuple[int, ...]]
"""The affine and the shape of images."""


def _listed(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        if not given:
            raise SchemaError("images is an empty list")
        return list(given)
    return [given]


def _image(given: Any, what: str) -> Any:
    """An image of nibabel, which reads no more than its header."""
    nibabel = needs("nibabel", "NIfTI", BRIDGES)
    if isinstance(given, str | os.PathLike):
        what = str(given)
        with reading(given, IMAGE) as file:
            given = nibabel.load(file)
    if not isinstance(given, nibabel.spatialimages.SpatialImage):
        raise TypeError(
            f"{what} must be a path, or an image of nibabel with voxels, got {came(given)}; give "
            "the arrays of surfaces to xconverge.io.from_trials"
        )
    units = getattr(given.header, "get_xyzt_units", lambda: ("mm",))()[0]
    if units not in ("mm", "unknown") or given.affine is None:
        raise SchemaError(f"{what} must have an affine in mm, and its header says {units!r}")
    return given


def _same(one: Grid, other: Grid) -> bool:
    return one[1] == other[1] and bool(np.allclose(one[0], other[0]))


def _shown(grid: Grid) -> str:
    return f"shape {grid[1]}, affine {np.round(grid[0], 4).tolist()}"


def _grid(runs: Sequence[Any], who: str) -> Grid:
    """The grid that all images have."""
    for number, image in enumerate(runs):
        if image.ndim not in (3, 4):
            raise SchemaError(f"{who}[{number}] must have three or four dims, got {image.shape}")
    grids = [(np.asarray(image.affine, np.float64), image.shape[:3]) for image in runs]
    _check_grids(grids, [f"{who}[{i}]" for i in range(len(runs))])
    if len({image.ndim for image in runs}) > 1:
        raise SchemaError(
            f"{who} must all have three dims (one a trial), or all four (one a session), got "
            f"{listing([image.ndim for image in runs])}"
        )
    return grids[0]


def _check_grids(grids: Sequence[Grid], names: Sequence[str]) -> None:
    """All are on the grid of the first."""
    for grid, name in zip(grids, names, strict=True):
        if not _same(grid, grids[0]):
            raise SchemaError(
                f"{name} lies on another grid ({_shown(grid)}) than {names[0]} "
                f"({_shown(grids[0])}), and nothing is resampled in silence; bring them to one "
                "with nilearn.image.resample_to_img, masks with interpolation='nearest'"
            )


def _mask_of(mask: Any, place: Place, places: Mapping[Place, Any]) -> Any:
    """The mask of a subject, where each has its own."""
    if place and isinstance(mask, Mapping):
        own = {str(name): one for name, one in mask.items()}
        if set(own) == {one[0] for one in places}:
            return own[place[0]]
    return mask


def _is_masker(mask: Any) -> bool:
    return hasattr(mask, "transform") and hasattr(mask, "inverse_transform")


def _regions(
    mask: Any, labels: Mapping[int, str] | None, grid: Grid, who: str
) -> dict[str | None, Array]:
    """Positions of the voxels of each region, in the order of a flat volume; None for a mask."""
    if labels is not None and (isinstance(mask, Mapping) or _is_masker(mask)):
        raise ValueError("labels= are of a mask with several numbers, and this one has none")
    if _is_masker(mask):
        if type(mask).__name__ not in ("NiftiMasker", "MultiNiftiMasker"):
            raise TypeError(
                f"mask is a {type(mask).__name__}, whose features are no voxels; give what its "
                ".transform(images) returns to xconverge.io.from_trials"
            )
        if getattr(mask, "mask_img_", None) is None:
            raise SchemaError("mask is a NiftiMasker without a mask; .fit it to images first")
        return {None: _inside(mask.mask_img_, "the mask of the masker", grid, who)}
    if isinstance(mask, Mapping):
        names = label_text(list(mask), "mask", " (its keys)")
        return {
            str(name): _inside(one, f"mask of {name!r}", grid, who)
            for name, one in zip(names, mask.values(), strict=True)
        }
    if labels is None:
        return {None: _inside(mask, "mask", grid, who)}
    numbers = _volume(mask, "mask", grid, who)
    lacking = [number for number in labels if not (numbers == number).any()]
    if lacking or not labels:
        raise SchemaError(
            f"mask has no voxel of {listing(lacking) or 'no labels'}; it has "
            f"{listing(np.unique(numbers), 30)}"
        )
    names = label_text(list(labels.values()), "labels")
    return {
        str(name): np.flatnonzero(numbers == number)
        for name, number in zip(names, labels, strict=True)
    }


def _volume(given: Any, what: str, grid: Grid, who: str) -> Array:
    """The numbers of a mask on the grid of the images, flat."""
    image = _image(given, what)
    own = (np.asarray(image.affine, np.float64), image.shape)
    _check_grids([grid, own], [who, what])
    with reading(image.get_filename(), IMAGE) if image.get_filename() else nullcontext():
        values = np.asarray(image.dataobj).ravel()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise SchemaError(f"{what} has numbers that are not finite; make them 0")
    return values


def _inside(given: Any, what: str, grid: Grid, who: str) -> Array:
    """Positions of the voxels of a mask of 0 and 1."""
    values = _volume(given, what, grid, who)
    found = np.unique(values)
    if not np.isin(found, (0, 1)).all():
        raise SchemaError(
            f"{what} has the numbers {listing(found, 10)}, and 0 and 1 are needed; name regions "
            "with labels={1: '…'}, or choose with nilearn.image.math_img('img > 0.5', img=…)"
        )
    inside = np.flatnonzero(values)
    if not len(inside):
        raise SchemaError(f"{what} is empty: it is 0 everywhere")
    return inside


def _responses(runs: Sequence[Any], mask: Any, where: Array, who: str) -> Any:
    """(trial, voxel) of images of three dims, or of each session, of four."""
    flat = runs[0].ndim == 3
    if _is_masker(mask):
        # one that works in time must see all of a session
        sessions = [list(runs)] if flat else runs
        parts: list[Any] = [np.atleast_2d(mask.transform(one)) for one in sessions]
    else:
        parts = [_rows(run, where, f"{who}[{i}]") for i, run in enumerate(runs)]
    if flat and len(parts) > 1:
        lazy = any(isinstance(part, da.Array) for part in parts)
        return da.concatenate(parts) if lazy else np.concatenate(parts)
    return parts if len(parts) > 1 else parts[0]


def _rows(image: Any, where: Array, what: str) -> Any:
    """(volume, voxel) of one image: lazy where its volumes can be read one by one."""
    nibabel = needs("nibabel", "NIfTI", BRIDGES)
    path = image.get_filename()
    n = image.shape[3] if image.ndim == 4 else 1
    shape = (n, len(where))
    if not nibabel.is_proxy(image.dataobj) or path is None:
        return floats(_behind(np.asarray(image.dataobj), where), what)
    file = local_path(path)
    proxy = image.dataobj
    plain = isinstance(proxy, nibabel.arrayproxy.ArrayProxy)
    plain = plain and (proxy.slope, proxy.inter) == (1, 0)
    dtype = np.dtype(proxy.dtype).newbyteorder("=") if plain else np.dtype(np.float64)
    volume = math.prod(image.shape[:3]) * max(8, dtype.itemsize)
    if file.suffix not in COMPRESSED or n == 1:
        return lazy_rows(_volumes, file, where, shape, dtype, IMAGE, volume)
    # each slice of a compressed file is read from its beginning, unless it stays open
    with reading(file, IMAGE):
        proxy = nibabel.load(file, keep_file_open=True).dataobj
        made = np.empty(shape, float_dtype(dtype))
        for row in range(n):
            made[row] = floats(_behind(np.asarray(proxy[..., row]), where)[0], what)
    return made


def _volumes(path: Path, where: Array, key: Any) -> Array:
    """Rows of an image behind a mask, of which only these volumes are read."""
    nibabel = needs("nibabel", "NIfTI", BRIDGES)
    rows, columns = key if isinstance(key, tuple) else (key, slice(None))
    image = nibabel.load(path)
    n = image.shape[3] if image.ndim == 4 else 1
    wanted = np.arange(n)[rows]
    if not wanted.size:
        return np.empty((*wanted.shape, len(where)))[..., columns]
    start, stop = int(wanted.min()), int(wanted.max()) + 1
    block = image.dataobj[..., start:stop] if image.ndim == 4 else image.dataobj
    found: Array = _behind(np.asarray(block), where)[wanted - start][..., columns]
    return found


def _behind(volumes: Array, where: Array) -> Array:
    """(volume, voxel) of (i, j, k[, volume])."""
    inside = volumes[np.unravel_index(where, volumes.shape[:3])].reshape(len(where), -1)
    rows: Array = np.ascontiguousarray(inside.T)
    return rows


def _voxels(where: Array, grid: Grid) -> dict[str, Any]:
    """Where voxels lie: in the image, and in mm."""
    nibabel = needs("nibabel", "NIfTI", BRIDGES)
    at = np.stack(np.unravel_index(where, grid[1]), -1)
    world = nibabel.affines.apply_affine(grid[0], at)
    return {
        **{name: ("feature", at[:, axis]) for axis, name in enumerate(INDICES)},
        **{name: ("feature", world[:, axis], {"units": "mm"}) for axis, name in enumerate(WORLD)},
    }


def to_nifti(scores: xr.DataArray, like: Any = None) -> Any:
    """Make an image of scores of voxels, NaN outside of them.

    Parameters
    ----------
    scores : DataArray
        Over the voxels, with the coordinates ``i``, ``j``, ``k`` of `from_nifti`: over ``feature``,
        ``center`` of a searchlight, and over models or subjects too where the coordinates are; at
        most one further dim (stimulus, bin). A lazy one is computed.
    like : DataArray, or image, optional
        Whose affine and shape it gets: what `from_nifti` made, the mask, or another image of that
        grid. Default: what ``scores.attrs`` say of them.

    Returns
    -------
    nibabel.Nifti1Image
        Of three dims, or of four with the further dim, in its order, if it is longer than one.
        float32 for scores that are, else float64.

    Raises
    ------
    ImportError
        nibabel is not installed.
    SchemaError
        No coordinates; no affine; two scores for one voxel, as of several subjects; voxels outside
        of the image; more dims.

    Notes
    -----
    Padding is left out. Regions that share no voxel go into one image. Where ``x``, ``y``, ``z``
    are there, they must be where the affine puts the voxels.

    Examples
    --------
    See `from_nifti`.
    """
    nibabel = needs("nibabel", "to_nifti", BRIDGES)
    if not isinstance(scores, xr.DataArray):
        raise TypeError(f"scores must be an xarray.DataArray, got {came(scores)}")
    lacking = [name for name in INDICES if name not in scores.coords]
    if lacking:
        raise SchemaError(
            f"scores has no coordinates {listing(lacking)}, which say where a voxel lies in the "
            "image; xconverge.io.from_nifti gives them"
        )
    at = xr.broadcast(*(scores.coords[name].reset_coords(drop=True) for name in INDICES))
    dims = [dim for dim in scores.dims if dim in at[0].dims]
    scores = scores.squeeze([d for d in scores.dims if d not in dims and scores.sizes[d] == 1])
    others = [dim for dim in scores.dims if dim not in dims]
    if not dims or len(others) > 1 or set(at[0].dims) - set(dims):
        raise SchemaError(
            f"scores must be over {list(map(str, at[0].dims))}, as its voxels are, and one more "
            f"dim at most, got {list(map(str, scores.dims))}; select or average first"
        )
    affine, shape = _grid_of(scores, like)
    index = np.stack([np.asarray(read(one.transpose(*dims))).ravel() for one in at])
    real = np.isfinite(index).all(0)
    where = index[:, real].astype(np.int64)
    _check_places(scores, dims, where, real, affine, shape)
    values = np.asarray(scores.transpose(*dims, *others).values)
    values = values.reshape(index.shape[1], *(scores.sizes[dim] for dim in others))[real]
    dtype = np.float32 if values.dtype in (np.float16, np.float32) else np.float64
    volume = np.full((*shape, *values.shape[1:]), np.nan, dtype)
    volume[tuple(where)] = values
    return nibabel.Nifti1Image(volume, affine)


def _grid_of(scores: xr.DataArray, like: Any) -> Grid:
    """The affine and shape that the image gets."""
    if like is not None and not isinstance(like, xr.DataArray):
        image = _image(like, "like")
        return np.asarray(image.affine, np.float64), image.shape[:3]
    attrs = (scores if like is None else like).attrs
    if AFFINE not in attrs or SHAPE not in attrs:
        raise SchemaError(
            f"{'scores' if like is None else 'like'} does not say the affine and the shape of the "
            "image in its attrs; give like=, the set that from_nifti made, or the mask"
        )
    return np.asarray(attrs[AFFINE], np.float64), tuple(int(n) for n in attrs[SHAPE])


def _check_places(
    scores: xr.DataArray, dims: Sequence[Any], where: Array, real: Array, affine: Array, shape: Any
) -> None:
    """Every voxel is in the image, once, and where its coordinates in mm say."""
    nibabel = needs("nibabel", "NIfTI", BRIDGES)
    if (where < 0).any() or (where >= np.array(shape)[:, None]).any():
        raise SchemaError(f"scores has voxels outside of an image of the shape {shape}")
    twice = pd.MultiIndex.from_arrays(list(where)).duplicated()
    if twice.any():
        raise SchemaError(
            f"scores has {twice.sum()} voxels twice along {list(map(str, dims))}, as of several "
            "subjects or regions that overlap; make an image of each"
        )
    world = [scores.coords[name] for name in WORLD if name in scores.coords]
    if len(world) == 3 and all(set(one.dims) <= set(dims) for one in world):
        template = scores.isel({d: 0 for d in scores.dims if d not in dims}, drop=True)
        told = [one.broadcast_like(template).transpose(*dims).values.ravel()[real] for one in world]
        if not np.allclose(nibabel.affines.apply_affine(affine, where.T).T, told, atol=1e-3):
            raise SchemaError(
                "scores has coordinates x, y, z that are not where the affine puts its voxels: "
                "the image of like= lies on another grid"
            )
