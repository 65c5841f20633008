"""Plain NumPy files: .npy and .npz."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._numpy import NPY, map_npy, read_archive
from xconverge.io.formats._reading import reading
from xconverge.io.formats._sets import Ids, checked, ids_of, only_named, representation_set
from xconverge.io.formats._writing import writing
from xconverge.io.paths import FilePath, local_path
from xconverge.io.zarr.encoding import NAME, TEXT, encoded_set
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import validate
from xconverge.labels.messages import SchemaError
from xconverge.labels.numbers import floats

HEADER = "xconverge"
STIMULUS = "stimulus"
FORMAT = 1


def read_npy(
    source: FilePath,
    ids: Ids | None = None,
    *,
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read the features of one model from a ``.npy`` file.

    Parameters
    ----------
    source : path
        The file, an array (stimuli, features).
    ids : sequence of str, or path
        Ids of the rows, in their order; or a text file (UTF-8) with one id a line; or a column of
        a table, ``"ids.csv:nsd_id"``, whose cells stay as they are. Whole numbers become text in
        their plain decimal form.
    model : str, optional
        Name of the model; default the name of the file without its extension.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), lazy: the file is memory mapped when the
        values are computed, and never read as a whole. Integers and booleans become float64,
        bfloat16 of ml_dtypes float32.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SchemaError
        No ids, or not as many as rows; a shape that is not (stimuli, features); a file that is
        damaged or cut off; complex numbers, text, records, or Python objects: these only
        unpickling could read, and unpickling runs code.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/vit.npy"
    >>> np.save(path, np.ones((2, 3), np.float32))
    >>> reps = read_npy(path, ["cat", "dog"], modality="vision")
    >>> reps.model.item(), reps.shape, reps.dtype
    ('vit', (1, 2, 3), dtype('float32'))
    """
    with reading(source, NPY) as path:
        array = map_npy(path)
    return representation_set(
        {path.stem if model is None else model: array}, ids_of(ids, path), path, modality
    )


def read_npz(
    source: FilePath,
    ids: Ids | None = None,
    *,
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read an ``.npz`` file: one array a model, or what `write_npz` wrote.

    Parameters
    ----------
    source : path
        The file. Each array (stimuli, features) is a model, named by its key; all have the same
        stimuli in the same order.
    ids : sequence of str, or path, optional
        As for `read_npy`. Not where the file has its own: as text under the key ``stimulus``, or
        because `write_npz` wrote it.
    model : str, optional
        Name of the model, where the file holds one.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), in memory. What `write_npz` wrote comes
        back as it was: labels, widths, coordinates, attrs, and the order of the dims.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SchemaError
        What `read_npy` and `validate` refuse; ids that are given twice; an archive whose members
        are no arrays, or claim more bytes than they can hold or than fit into memory.

    Notes
    -----
    The archive is read in memory; nothing is unpacked to disk, and the names of its members are
    labels, never paths.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/vision.npz"
    >>> np.savez(path, vit=np.ones((2, 3)), cnn=np.ones((2, 5)))
    >>> reps = read_npz(path, ["cat", "dog"])
    >>> reps.model.values.tolist(), reps.n_features.values.tolist()
    (['vit', 'cnn'], [3, 5])
    """
    with reading(source, "a NumPy .npz archive") as path:
        arrays = read_archive(path)
        header = arrays.get(HEADER)
        if header is not None and header.dtype.kind == "U" and not header.ndim:
            if ids is not None or model is not None:
                raise SchemaError(
                    f"{path} was written by xconverge and has its own labels; leave ids and model "
                    "away, and rename afterwards with .assign_coords"
                )
            return _restored(arrays, path, modality)
        own = arrays.get(STIMULUS)
        if own is not None and own.dtype.kind == "U" and own.ndim == 1:
            if ids is not None:
                raise SchemaError(f"{path} has its own ids under {STIMULUS!r}; leave ids away")
            ids = arrays.pop(STIMULUS).tolist()
        if not arrays:
            raise SchemaError(f"{path} holds no features")
        arrays = only_named(arrays, model, path, "keys")
        models = {name: floats(array, f"{path}: {name!r}") for name, array in arrays.items()}
        how = f", or save them as text under the key {STIMULUS!r}"
        return representation_set(models, ids_of(ids, path, how), path, modality)


def _restored(arrays: dict[str, Array], path: Path, modality: str | None) -> xr.DataArray:
    """What `write_npz` wrote."""
    header = json.loads(str(arrays.pop(HEADER)))
    if header["format"] != FORMAT:
        raise SchemaError(
            f"{path} is of format {header['format']!r}, which a newer xconverge "
            f"({header.get('xconverge_version')}) writes; this one reads {FORMAT}"
        )
    variables = {
        name: xr.Variable(
            row["dims"],
            arrays[name].astype(object) if arrays[name].dtype.kind == "U" else arrays[name],
            row["attrs"],
        )
        for name, row in header["variables"].items()
    }
    values = variables.pop(NAME)
    values.values = floats(values.values, f"{path}: {NAME!r}")
    array = xr.DataArray(values, coords=variables, name=NAME).transpose(*header["dims"])
    return checked(array, path, modality)


def write_npz(
    path: FilePath,
    reps: xr.DataArray,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a representation set as one ``.npz`` file, for `read_npz` and for ``numpy.load``.

    Parameters
    ----------
    path : path
        The file; it appears when it is whole.
    reps : DataArray
        (model, stimulus, feature), extra dims allowed; a lazy one is computed once, model by
        model.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file. Its keys are ``representation`` (extra dims, model, stimulus, feature), every
        coordinate under its name, and ``xconverge``: dims and attrs as JSON. None holds Python
        objects, so ``numpy.load(path)`` reads all of it.

    Raises
    ------
    SchemaError
        Whatever `validate` refuses; missing text; a name, coordinate or attribute that such a file
        cannot hold.
    FileExistsError
        The file is there.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge.labels.stack import stack_models
    >>> reps = stack_models({"a": np.ones((2, 3)), "b": np.ones((2, 5))}, stimuli=["cat", "dög"])
    >>> path = write_npz(tempfile.mkdtemp() + "/vision.npz", reps)
    >>> xr.testing.assert_identical(read_npz(path), reps)
    >>> np.load(path)["stimulus"].tolist()
    ['cat', 'dög']
    """
    array = encoded_set(reps)
    rows = array.transpose(..., "model", "stimulus", "feature")
    coords = {str(name): coord.variable for name, coord in array.coords.items()}
    texts = {name: _plain_text(name, coord) for name, coord in coords.items()}
    header = json.dumps(_header(array, rows.dims, coords))
    with (
        writing(path, overwrite=overwrite) as part,
        zipfile.ZipFile(part, "x", zipfile.ZIP_DEFLATED) as opened,
    ):
        for name, values in {HEADER: np.array(header), **texts}.items():
            with opened.open(_member(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        # stored: floats hardly compress. force_zip64: the size is not known when it is begun
        with opened.open(_member(NAME, zipfile.ZIP_STORED), "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(
                file, {"shape": rows.shape, "fortran_order": False, "descr": rows.dtype.str}
            )
            for position in np.ndindex(rows.shape[:-2]):
                at = dict(zip(rows.dims, position, strict=False))
                block = rows.isel({dim: [i] for dim, i in at.items()}).compute()
                file.write(np.ascontiguousarray(validate(block).values).data)
    return local_path(path)


def _header(array: xr.DataArray, dims: Any, coords: dict[str, xr.Variable]) -> dict[str, Any]:
    from xconverge import __version__

    if HEADER in coords:
        raise SchemaError(f"reps has a coordinate {HEADER!r}, which the file needs; .rename it")
    return {
        "format": FORMAT,
        "xconverge_version": __version__,
        "dims": list(array.dims),
        "variables": {
            NAME: {"dims": list(dims), "attrs": array.attrs},
            **{n: {"dims": list(c.dims), "attrs": c.attrs} for n, c in coords.items()},
        },
    }


def _plain_text(name: str, variable: xr.Variable) -> Array:
    """Text as NumPy's own, which must bring it back; all else as it is."""
    values: Array = np.asarray(variable.values)
    if values.dtype != TEXT and values.dtype.kind not in "OU":
        return values
    text = values.astype(object)
    plain = text.astype(str)
    if not np.array_equal(plain.astype(object), text):
        raise SchemaError(
            f"{name!r} has text that ends in a NUL character, which NumPy cuts off; strip it"
        )
    return plain


def _member(name: str, how: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy")
    if info.filename != f"{name}.npy":
        raise SchemaError(f"a zip archive cannot hold the name {name!r}; rename the coordinate")
    info.compress_type = how
    return info
