"""Folders of features that thingsvision wrote."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xconverge.io.formats._feature_files import open_features
from xconverge.io.formats._rows import all_rows
from xconverge.io.formats._sets import (
    Ids,
    ids_of,
    ids_of_file,
    only_named,
    representation_set,
)
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError, escaped, listing

NAMES = "file_names.txt"
FILE = re.compile(
    r"features(?P<suffix>.*?)(_(?P<part>\d+)|_(?P<start>\d+)-(?P<stop>\d+))?"
    r"\.(?P<kind>npy|pt|txt|mat|hdf5|h5)"
)


class Part(NamedTuple):
    """A file of features; ``start`` and ``stop`` are its rows, where its name says so."""

    file: Path
    suffix: str
    kind: str
    number: int | None
    start: int | None
    stop: int | None


def read_thingsvision(
    source: FilePath,
    ids: Ids | None = None,
    *,
    flatten: bool = False,
    strip_folder: bool = False,
    strip_extension: bool = False,
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    r"""Read a folder of features that thingsvision wrote.

    Parameters
    ----------
    source : path
        The folder with ``features.npy``, ``.hdf5``, ``.mat``, ``.txt`` or ``.pt``, whole or in the
        parts that thingsvision splits large features into. Or a folder of such folders, one a
        module of a network: each is a model.
    ids : sequence of str, or path, optional
        Ids of the rows, as for `read_npy`, in place of ``file_names.txt``. By default this is
        read from the folder of the features, or the nearest above it up to ``source``.
    flatten : bool
        Make one vector of features that are maps (channel, height, width) or tokens, as
        ``flatten_acts=True`` does in thingsvision.
    strip_folder, strip_extension : bool
        Take folders, or the extension, away from the file names, if they stay unique.
    model : str, optional
        Name of the model, where the folder holds one; default the name of the folder. Several are
        called by their path in ``source``, as ``alexnet/features.10``.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature). Lazy where all features are ``.npy``,
        ``.hdf5`` or ``.pt``, which are read when they are computed.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ImportError
        h5py (for ``.hdf5`` and MATLAB 7.3 files) or PyTorch (for ``.pt``) is not installed.
    SchemaError
        No features, or several that could be meant; a part that is missing; no ids, not as many
        as rows, or not unique; maps without ``flatten``; damaged files, and what `read_npy`
        refuses.

    Notes
    -----
    The layout is that of https://github.com/ViCCo-Group/thingsvision (Muttenthaler & Hebart, 2021,
    doi:10.3389/fninf.2021.679838). A ``.mat`` file with one variable an image is joined on the
    names of its variables. Links out of ``source`` are not followed into folders.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp(), "alexnet")
    >>> folder.mkdir()
    >>> np.save(folder / "features.npy", np.ones((2, 3)))
    >>> n = (folder / "file_names.txt").write_text("images/cat.jpg\nimages/dog.jpg\n")
    >>> reps = read_thingsvision(folder, strip_folder=True, strip_extension=True)
    >>> reps.model.item(), reps.stimulus.values.tolist()
    ('alexnet', ['cat', 'dog'])
    """
    root = local_path(source)
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {escaped(root)}")
    if not root.is_dir():
        raise SchemaError(
            f"{root} is no folder, and a folder of thingsvision is needed; "
            "xconverge.io.read_npy reads a single file"
        )
    folders = {folder.relative_to(root).as_posix(): folder for folder in _folders(root)}
    if len(folders) == 1:
        folders = {folder.resolve().name: folder for folder in folders.values()}
    folders = only_named(folders, model, root, "folders")
    given = None if ids is None else ids_of(ids, root)
    models, labels = {}, {}
    for name, folder in folders.items():
        listed = _file_names(folder, root)
        if given is None and listed is None:
            ids_of(None, folder, f". thingsvision writes them to {NAMES}; put it into {folder}")
        files = listed or given or []
        labels[name] = given or _stripped(files, strip_folder, strip_extension)
        models[name] = _features(folder, _parts(folder), files, flatten)
    first = next(iter(folders))
    other = [name for name in folders if labels[name] != labels[first]]
    if other:
        raise SchemaError(
            f"the file names of {listing(other)} in {root} are not those of {first!r}, in the same "
            "order; read the folders one by one and join them with xconverge.stack_models"
        )
    return representation_set(models, labels[first], root, modality)


def _folders(root: Path) -> list[Path]:
    """Folders that hold features, in natural order."""
    found = {Path(where) for where, _, files in os.walk(root) if any(map(FILE.fullmatch, files))}
    if root in found and len(found) > 1:
        raise SchemaError(
            f"{root} holds features itself and in {listing(sorted(found - {root}))}; read one of "
            "them at a time"
        )
    if not found:
        raise SchemaError(
            f"{root} holds no features of thingsvision: no features.npy, .hdf5, .mat, .txt or .pt, "
            "whole or in parts (features_01.npy, features_0-32.npy)"
        )
    folders = list(found)
    rank = natural_rank([str(folder) for folder in folders])
    return [folders[i] for i in np.argsort(rank)]


def _file_names(folder: Path, root: Path) -> list[str] | None:
    """The list of images that is nearest to the features."""
    for above in (folder, *folder.parents):
        if (above / NAMES).exists():
            return ids_of_file(above / NAMES)
        if above == root:
            break
    return None


def _stripped(names: list[str], folder: bool, extension: bool) -> list[str]:
    """File names without their folder or extension."""
    short = [re.split(r"[/\\]", name)[-1] if folder else name for name in names]
    if extension:
        short = [re.sub(r"(?<=[^/\\])\.[^./\\]+$", "", name) for name in short]
    if len(set(short)) < len(set(names)):
        seen: dict[str, str] = {}
        for new, old in zip(short, names, strict=True):
            if seen.setdefault(new, old) != old:
                raise SchemaError(
                    f"{seen[new]!r} and {old!r} would both be called {new!r}; keep the "
                    "folder or the extension"
                )
    return short


def _parts(folder: Path) -> list[Part]:
    """The files of a folder that together hold its features, in the order of rows."""
    parts = []
    for file in sorted(folder.iterdir()):
        match = FILE.fullmatch(file.name)
        if match:
            numbers = (match["part"], match["start"], match["stop"])
            number, start, stop = (None if n is None else int(n) for n in numbers)
            parts.append(Part(file, match["suffix"], match["kind"], number, start, stop))
    groups = {(p.suffix, p.kind, p.number is None, p.start is None) for p in parts}
    if len(groups) > 1:
        raise SchemaError(
            f"{folder} holds features that were saved in several ways: "
            f"{listing(p.file.name for p in parts)}; leave one of them there"
        )
    if parts[0].number is not None:
        parts.sort(key=lambda part: part.number or 0)
        expected: list[Any] = list(range(1, len(parts) + 1))
        found: list[Any] = [part.number for part in parts]
    else:
        parts.sort(key=lambda part: (part.start or 0, part.stop or 0))
        parts = _counted(parts)
        expected = [0, *(part.stop for part in parts[:-1])]
        found = [part.start or 0 for part in parts]
    if found != expected:
        raise SchemaError(
            f"parts of the features in {folder} are missing or twice: "
            f"{listing(part.file.name for part in parts)}"
        )
    return parts


def _counted(parts: list[Part]) -> list[Part]:
    """Parts with the rows they hold, where thingsvision named them by their ends alone.

    Of several ``module_names``, it names the parts of all but the first 32-32, 64-64, 70-70.
    """
    if not all(part.stop and part.start == part.stop for part in parts):
        return parts
    starts = [0, *(part.stop for part in parts[:-1])]
    return [part._replace(start=start) for part, start in zip(parts, starts, strict=True)]


def _features(folder: Path, parts: list[Part], names: list[str], flatten: bool) -> Any:
    """Features (stimuli, features) of all parts."""
    arrays, at = [], 0
    for part in parts:
        array = open_features(part.file, names[at:])
        if part.stop is not None and len(array) != part.stop - (part.start or 0):
            raise SchemaError(
                f"{part.file} has {len(array)} rows, and its name says otherwise; it is damaged"
            )
        at += len(array)
        arrays.append(array)
    whole = all_rows(arrays, f"parts of the features in {folder}")
    shape = whole.shape[1:]
    if len(shape) > 1 and not flatten:
        raise SchemaError(
            f"the features in {folder} are maps or tokens, each of shape {shape}; "
            "flatten=True makes one vector of them, or average them before saving"
        )
    return whole.reshape(len(whole), int(np.prod(shape)))
