"""Plain functions that every test file may import."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import dask
import numpy as np
import xarray as xr
from hypothesis import strategies as st

from xconverge.testing import planted_study

DIMS = ("model", "stimulus", "feature")


def make_reps(
    n_models: int = 4,
    n_stimuli: int = 12,
    widths: int | Sequence[int] = 6,
    seed: int = 0,
    *,
    missing: Any = 0.0,
    dtype: Any = np.float64,
    shared: bool = True,
    noise: float = 0.5,
    offset: float = 0.0,
    extra: dict[str, int] | None = None,
    dims: tuple[str, str, str] = DIMS,
) -> xr.DataArray:
    """A labelled representation set, its stimuli in random order, with coordinates.

    ``widths`` is one width or one a model (then padded with NaN, and ``n_features`` is there).
    ``missing`` is the share of rows that are NaN, or a list of (model, stimulus) positions.
    ``shared`` marks the features as a shared space. ``extra`` adds leading dims by size.
    """
    rng = np.random.default_rng(seed)
    model, stimulus, _feature = dims
    ragged = not isinstance(widths, int)
    real = list(widths) if ragged else [widths] * n_models
    full, extra = max(real), extra or {}
    lead = tuple(extra.values())
    common = rng.standard_normal((*lead, 1, n_stimuli, full))
    values = common + noise * rng.standard_normal((*lead, n_models, n_stimuli, full)) + offset
    if np.dtype(dtype).kind in "iu":
        values = np.round(values * 10)
    for m, width in enumerate(real):
        values[..., m, :, width:] = np.nan
    if isinstance(missing, float):
        for m in range(n_models):
            gone = rng.random(n_stimuli) < missing
            values[..., m, gone, :] = np.nan
    else:
        for m, s in missing:
            values[..., m, s, :] = np.nan
    order = rng.permutation(n_stimuli)
    coords: dict[str, Any] = {
        model: np.array([f"net{m}" for m in range(n_models)], dtype=object),
        stimulus: np.array([f"s{s}" for s in order], dtype=object),
        "family": (model, np.array([f"family{m % 2}" for m in range(n_models)], dtype=object)),
        "category": (stimulus, np.array([f"cat{s % 3}" for s in order], dtype=object)),
        "caption": (stimulus, np.array([f"a picture of {s}" for s in order], dtype=object)),
    }
    for dim, size in extra.items():
        coords[dim] = [f"{dim}{i}" for i in range(size)]
    if ragged:
        coords["n_features"] = (model, np.asarray(real, np.int64))
    array = xr.DataArray(
        values.astype(dtype), dims=(*extra, *dims), coords=coords, name="representation"
    )
    array.attrs["modality"] = "vision"
    if shared:
        array.attrs["space"] = "shared"
    return array


def images_and_captions(
    n: int = 30, each: int = 2, seed: int = 0, fewer: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Images, and captions of them in random order, with ids of their own and ``image_id``.

    At least ``each`` captions an image, some more; or so many but for the ``fewer`` last ones.
    """
    planted = planted_study(4, n, rng=seed)
    rng = np.random.default_rng(seed)
    which = np.tile(np.arange(n), each)
    which = which[:-fewer] if fewer else np.append(which, rng.integers(n, size=n // 2))
    captions = planted["language"].isel(stimulus=rng.permutation(which))
    ids = captions["stimulus"].values
    captions = captions.assign_coords(
        stimulus=np.array([f"caption {i}" for i in range(len(ids))], dtype=object),
        image_id=("stimulus", ids),
    )
    return planted["vision"], captions + rng.standard_normal(captions.shape) * 0.3


def objects(values: Iterable[Any]) -> np.ndarray:
    """An array that holds each of these as it is, also what numpy would take apart."""
    values = list(values)
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def stream_of(rng: int) -> int:
    """The whole number that a call draws from its ``rng``, as the seed of all that follows."""
    return int(np.random.default_rng(rng).integers(2**63))


def read_only(array: xr.DataArray) -> xr.DataArray:
    """The array over a buffer that nobody can write to."""
    values = np.array(array.values)
    values.flags.writeable = False
    return array.copy(data=values)


def shuffled(array: xr.DataArray, seed: int = 0, dim: str = "stimulus") -> xr.DataArray:
    """The array with the labels of a dim in another order."""
    order = np.random.default_rng(seed).permutation(array.sizes[dim])
    return array.isel({dim: order})


@st.composite
def chunkings(draw: Any, sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Random chunks for every one of these dims."""
    result = {}
    for dim, size in sizes.items():
        cuts = draw(st.sets(st.integers(1, max(size - 1, 1)), max_size=3))
        edges = [0, *sorted(cut for cut in cuts if cut < size), size]
        result[dim] = tuple(b - a for a, b in itertools.pairwise(edges))
    return result


@st.composite
def chunked(draw: Any, array: xr.DataArray) -> xr.DataArray:
    """The array with random chunks along every dim."""
    return array.chunk(draw(chunkings({str(d): n for d, n in array.sizes.items()})))


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("something was computed that should have stayed lazy")


@contextmanager
def no_compute() -> Iterator[None]:
    """Whatever dask computes in here by its default scheduler is an error."""
    with dask.config.set(scheduler=_refuse):
        yield


class Counting:
    """An array that counts how often each of its entries is read."""

    def __init__(self, values: Any) -> None:
        self.values, self.reads = values, np.zeros(values.shape, int)
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, key: Any) -> Any:
        self.reads[key] += 1
        return self.values[key]
