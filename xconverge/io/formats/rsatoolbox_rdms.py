"""RDMs of rsatoolbox, both ways, and the HDF5 files that they are saved in."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.spatial.distance import squareform

from xconverge.engine.rdms import checked_rdms
from xconverge.io.formats._flat import free_our_names
from xconverge.io.formats._labels import text_labels
from xconverge.io.formats._needs import needs
from xconverge.io.formats._reading import keywords_of, reading
from xconverge.io.formats._rsatoolbox import (
    check_no_other,
    coordinates,
    descriptors_of,
    load,
    scalar,
)
from xconverge.io.paths import FilePath
from xconverge.kernels.rdm import triangle
from xconverge.labels.checks import check_labels
from xconverge.labels.joins import on_side
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import floats
from xconverge.labels.variables import describe

DIMS = ("model", "stimulus", "stimulus_2")
TOLD = ("noise", "over", "n_repetitions", "modality")
"""Attributes of RDMs that are descriptors of all of them there."""
TABLES = ("descriptors", "rdm_descriptors", "pattern_descriptors")


def from_rsatoolbox_rdms(
    rdms: Any, *, stimulus: str = "stimulus", model: str = "model"
) -> xr.DataArray:
    """Make an RDM array of an rsatoolbox RDMs object.

    Parameters
    ----------
    rdms : rsatoolbox.rdm.RDMs
        One or more RDMs of the same patterns.
    stimulus : str
        Pattern descriptor that names the stimuli.
    model : str
        RDM descriptor that names the models; ``"index"``, which rsatoolbox always has, names them
        0, 1, …

    Returns
    -------
    DataArray
        ``rdm`` (model, stimulus, stimulus_2), as `rdm` returns it: symmetric, 0 on the diagonal,
        NaN there too for a stimulus whose every distance is NaN. Descriptors of patterns are
        coordinates on ``stimulus`` and ``stimulus_2``, those of RDMs on ``model``;
        ``attrs["metric"]`` is the dissimilarity measure.

    Raises
    ------
    SchemaError
        No such descriptor; stimuli or models twice.

    Notes
    -----
    The descriptor ``index``, a position, is left out. Its measures have their own names:
    ``squared euclidean`` there is divided by the number of channels.

    Examples
    --------
    >>> from rsatoolbox.rdm import RDMs
    >>> rdms = RDMs(np.array([[1.0, 2.0, 3.0]]), "correlation", {}, {"model": ["vit"]},
    ...             {"stimulus": ["cat", "dog", "cow"]})
    >>> from_rsatoolbox_rdms(rdms).sel(model="vit", stimulus="cat").values.tolist()
    [0.0, 1.0, 2.0]
    """
    vectors = np.atleast_2d(np.asarray(getattr(rdms, "dissimilarities", None)))
    if vectors.dtype == object or not hasattr(rdms, "pattern_descriptors"):
        raise TypeError(f"rdms must be rsatoolbox RDMs, got {type(rdms).__name__}")
    vectors = floats(vectors, "rdms.dissimilarities")
    try:
        matrices = np.stack([squareform(vector) for vector in vectors]).astype(vectors.dtype)
    except ValueError as error:
        raise SchemaError(f"rdms.dissimilarities must be (RDM, pair), {error}") from error
    n_rdm, n, _ = matrices.shape
    # rsatoolbox keeps no diagonal: it is 0, but for a pattern that was never seen
    diagonal = np.arange(n)
    missing = np.isnan(matrices).sum(-1) == max(n - 1, 1)
    matrices[:, diagonal, diagonal] = np.where(missing, np.nan, 0.0)
    labels = {}
    tables = {"stimulus": (rdms.pattern_descriptors, n), "model": (rdms.rdm_descriptors, n_rdm)}
    array = xr.DataArray(matrices, dims=("model", "stimulus", "stimulus_2"))
    for (dim, (table, size)), name in zip(tables.items(), (stimulus, model), strict=True):
        coords = coordinates(table, dim, size, (name,))
        if name not in coords:
            raise SchemaError(
                f"rdms has no {'pattern' if dim == 'stimulus' else 'RDM'} descriptor {name!r}; "
                f"name the one that names each {dim} with {dim}='…': there is "
                f"{listing(coords, 30) or 'none'}"
            )
        labels[dim] = text_labels(coords[name][1], repr(name))
        coords.pop(dim, None)
        coords.pop("index", None)
        array = array.assign_coords(coords)
    array = free_our_names(array, keep=("n_features", "n_repetitions")).assign_coords(labels)
    array = array.assign_coords(on_side(array["stimulus"], "stimulus", "_2").coords)
    check_labels(array, "model", "stimulus", what="rdms")
    measure = scalar(getattr(rdms, "dissimilarity_measure", None))
    told = {key: scalar(rdms.descriptors.get(key)) for key in TOLD}
    return describe(array, "rdm", metric=None if measure is None else str(measure), **told)


def to_rsatoolbox_rdms(rdm: xr.DataArray) -> Any:
    """Make an rsatoolbox RDMs object of RDMs.

    Parameters
    ----------
    rdm : DataArray
        (model, stimulus, stimulus_2), as `rdm` returns it; ``model`` may be absent. A lazy one is
        computed.

    Returns
    -------
    rsatoolbox.rdm.RDMs
        With the pattern descriptor ``stimulus``, the RDM descriptor ``model``, and one for each
        coordinate on them; ``attrs["metric"]`` is the dissimilarity measure, what attrs say of
        noise, repetitions and modality are descriptors.

    Raises
    ------
    SchemaError
        Other dims than these, no labels, or an RDM that is not symmetric.

    Notes
    -----
    Above the diagonal nothing changes; below, the last digit may, as only one half is kept.
    ``rdms.save(path)`` writes HDF5, which `read_rsatoolbox_rdms` reads.

    Examples
    --------
    >>> from xconverge import rdm, stack_models
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> rdms = to_rsatoolbox_rdms(rdm(reps, "sqeuclidean"))
    >>> rdms.pattern_descriptors["stimulus"].tolist(), rdms.dissimilarities.tolist()
    (['cat', 'dog', 'cow'], [[2.0, 2.0, 2.0]])
    >>> from_rsatoolbox_rdms(rdms).identical(rdm(reps, "sqeuclidean"))
    True
    """
    rsatoolbox = needs("rsatoolbox.rdm", "to_rsatoolbox_rdms", "rsatoolbox")
    array = rdms_of_models(rdm)
    vectors = np.stack([triangle(matrix, ranked=False) for matrix in array.values])
    tables = [descriptors_of(array, dim) for dim in ("model", "stimulus")]
    whole = {key: array.attrs[key] for key in TOLD if key in array.attrs}
    vectors = vectors.astype(array.dtype if array.dtype.kind == "f" else np.float64)
    return rsatoolbox.RDMs(vectors, array.attrs.get("metric"), whole, *tables)


def rdms_of_models(rdm: xr.DataArray) -> xr.DataArray:
    """RDMs (model, stimulus, stimulus_2) in memory; one that has no model is called ``rdm``."""
    array = checked_rdms(rdm, "rdm")
    check_no_other(array, set(DIMS), "rdm", "or make them models")
    array = array.compute()
    if "model" not in array.dims:
        name = array.coords["model"].item() if "model" in array.coords else "rdm"
        array = array.drop_vars("model", errors="ignore").expand_dims(model=[name])
    check_labels(array, "model", what="rdm")
    return array.transpose(*DIMS)


@keywords_of(from_rsatoolbox_rdms)
def read_rsatoolbox_rdms(path: FilePath, **options: Any) -> xr.DataArray:
    """Read RDMs that rsatoolbox saved as HDF5.

    Parameters
    ----------
    path : path
        What ``rdms.save(path)`` wrote. A pickle, its other kind of file, is refused.
    **options
        As in `from_rsatoolbox_rdms`.

    Returns
    -------
    DataArray
        As `from_rsatoolbox_rdms` makes it. rsatoolbox need not be installed.

    Raises
    ------
    SchemaError
        A pickle, a damaged file, one of another kind, or what `from_rsatoolbox_rdms`
        refuses.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import rdm, stack_models
    >>> path = tempfile.mkdtemp() + "/rdms.hdf5"
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> to_rsatoolbox_rdms(rdm(reps, "sqeuclidean")).save(path)
    >>> read_rsatoolbox_rdms(path).identical(rdm(reps, "sqeuclidean"))
    True
    """
    with reading(path, "RDMs of rsatoolbox") as file:
        rdms = load(file, TABLES)
        if not hasattr(rdms, "dissimilarities"):
            raise SchemaError(f"{file} holds no RDMs of rsatoolbox; it has {listing(vars(rdms))}")
        return from_rsatoolbox_rdms(rdms, **options)
