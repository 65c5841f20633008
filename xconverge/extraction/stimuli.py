"""Where stimuli come from: images of a folder or an archive, columns of a table, lines, objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from fsspec.core import url_to_fs

from xconverge.extraction.images import is_image, is_path_of_image, opened
from xconverge.io.formats._reading import reading
from xconverge.io.formats._sets import file_and_column, ids_of_file, lines_of_file
from xconverge.io.formats._tables import DELIMITERS, inferred, text_table
from xconverge.io.paths import local_path
from xconverge.io.zarr.encoding import DIMS, NAME
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, escaped, listing, shown
from xconverge.labels.text import label_text

IDS = ("stimulus", "stimulus_id", "id")
"""Columns of a table that name its rows, where nobody says which does."""
OF_MODELS = ("network", "layer", "pooling")
"""Coordinates that every model gets."""
TAKEN = (*DIMS, *OF_MODELS, "n_features", "complete", NAME)


@dataclass(frozen=True)
class Stimuli:
    """Stimuli by label, of one kind."""

    labels: xr.DataArray
    """(stimulus), with what is known of each as coordinates."""
    kind: str
    """``images``, ``texts`` or ``arrays``."""
    read: Callable[[str], Any]
    """The image, the text or the array of a label."""

    @property
    def names(self) -> list[str]:
        """The labels, in order."""
        return [str(label) for label in self.labels["stimulus"].values]


def stimuli_of(given: Any, ids: str | None = None) -> Stimuli:
    """Stimuli from wherever they are.

    ``ids`` is the column of a table that names its rows, or the file of ids of a text file.
    """
    if isinstance(given, Stimuli):
        return given
    if isinstance(given, str | os.PathLike):
        return _of_source(os.fspath(given), ids)
    if ids is not None:
        raise TypeError(f"ids are for tables and text files, and stimuli is {came(given)}")
    if isinstance(given, xr.DataArray) and given.dims == ("stimulus",) and given.indexes:
        return _of_items(given["stimulus"], given.values.tolist(), given["stimulus"])
    if isinstance(given, pd.Series):
        return _of_items(given.index, given.tolist())
    if isinstance(given, Mapping):
        return _of_items(list(given), list(given.values()))
    raise TypeError(
        "stimuli must be a folder, a ZIP file or a URL of images, 'table.csv:column', a text file, "
        "or a dict or a Series of label to image, path or text (a DataArray over 'stimulus' brings "
        f"coordinates); got {came(given)}"
    )


def _of_source(source: str, ids: str | None) -> Stimuli:
    """Stimuli of a path or a URL."""
    if "://" not in source:
        file, column = file_and_column(source)
        if column is not None or file.suffix.lower() in DELIMITERS:
            return _of_table(file, column, ids)
        if file.suffix.lower() in (".txt", ".text"):
            return _of_lines(file, ids)
        source = str(file)
    if ids is not None:
        raise SchemaError(
            f"ids={ids!r} names the rows of a table or a text file; images of {source} are named "
            "by their files"
        )
    return _of_images(source)


def _of_images(source: str) -> Stimuli:
    """Images of a folder and those below it; a label is the path there without its ending."""
    where = source
    if "::" not in source:
        if "://" not in source and not local_path(source).exists():
            raise FileNotFoundError(f"there is no folder or file {escaped(source)}")
        if source.lower().endswith(".zip"):
            where = f"zip://::{source}"
    files, root = url_to_fs(where)
    paths: dict[str, str] = {}
    for path in sorted(files.find(root)):
        inside = PurePosixPath(path).relative_to(root) if root else PurePosixPath(path)
        label = inside.with_suffix("").as_posix()
        if is_path_of_image(path):
            if label in paths:
                raise SchemaError(
                    f"{path} and {paths[label]} would have one label, {shown(label)}; rename one"
                )
            paths[label] = path
    if not paths:
        raise FileNotFoundError(f"there are no images in {escaped(source)}")

    def read(label: str) -> Any:
        return opened(partial(files.cat_file, paths[label]), label, paths[label])

    return Stimuli(_labelled(list(paths)), "images", read)


def _of_table(path: Path, column: str | None, ids: str | None) -> Stimuli:
    """Texts or paths of images in a column; other columns ride along as coordinates."""
    with reading(path, "a table of stimuli, .csv or .tsv in UTF-8") as file:
        if file.suffix.lower() not in DELIMITERS:
            raise SchemaError(f"{file} is no .csv or .tsv, which alone have columns")
        table = text_table(file)
    names = [str(name) for name in table]
    if column not in names:
        lacks = "say which column holds the stimuli" if column is None else f"no column {column!r}"
        raise SchemaError(
            f"{path}: {lacks}; its columns are {listing(names, 30)}. Give 'table.csv:COLUMN'"
        )
    known = [ids] if ids is not None else [name for name in IDS if name in names and name != column]
    if not known or known[0] not in names:
        raise SchemaError(
            f"{path} has no column {listing(known or IDS)} that names its rows, and rows are never "
            f"named by their position; its columns are {listing(names, 30)}. Name one with --ids, "
            "or give a Series in Python: table.set_index(…)[…]"
        )
    for name in (known[0], column):
        blank = [row for row, cell in enumerate(table[name], 2) if not cell.strip()]
        if blank or not len(table):
            raise SchemaError(
                f"{path} must have something in every row of {name!r}; it has "
                f"{f'nothing in rows {listing(blank)}' if blank else 'no rows'}"
            )
    items = table[column].tolist()
    coords = {}
    for name in names:
        if name != known[0]:
            values = np.asarray(items) if name == column else inferred(table[name], path)
            if values.dtype.kind in "OU":
                values = np.array(["" if v is None else str(v) for v in values], dtype=object)
            coords[name] = ("stimulus", values)
    wrong = [name for name in coords if name in TAKEN or "/" in name]
    if wrong:
        raise SchemaError(
            f"{path} has columns {listing(wrong)}, names that the store needs or cannot hold; "
            "rename them"
        )
    labels = _labelled(table[known[0]].tolist(), coords)
    if all(is_path_of_image(item) for item in items):
        items = [item if "://" in item else str(path.parent / local_path(item)) for item in items]
    return _of_named(labels, items)


def _of_lines(path: Path, ids: str | None) -> Stimuli:
    """Texts of a file, one a line; without ids each is its own label."""
    texts = lines_of_file(path, "text")
    if ids is None:
        return _of_named(_labelled(texts), texts)
    labels = ids_of_file(ids)
    if len(labels) != len(texts):
        raise SchemaError(
            f"{path} has {len(texts)} lines, and {ids} has {len(labels)} ids; each line needs one"
        )
    return _of_named(_labelled(labels, {"text": ("stimulus", np.array(texts, object))}), texts)


def _of_items(labels: Any, items: Sequence[Any], about: xr.DataArray | None = None) -> Stimuli:
    """Stimuli that are given one by one."""
    if not len(items):
        raise SchemaError("stimuli is empty; give at least one")
    names = label_text(labels, "stimuli")
    if about is None:
        return _of_named(_labelled(names), items)
    wrong = [str(name) for name in about.coords if name in TAKEN and name != "stimulus"]
    if wrong:
        raise SchemaError(
            f"stimuli has coordinates {listing(wrong)}, names that the store needs; rename them"
        )
    return _of_named(about["stimulus"].assign_coords(stimulus=names), items)


def _of_named(labels: xr.DataArray, items: Sequence[Any]) -> Stimuli:
    """Stimuli of labels that are ready."""
    names = [str(label) for label in labels["stimulus"].values]
    twice = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(twice):
        raise SchemaError(
            f"stimuli has {listing(twice)} more than once as a label; each needs one of its own"
        )
    kinds = [_kind(name, item) for name, item in zip(names, items, strict=True)]
    texts = [item for item in items if isinstance(item, str)]
    if texts and len(texts) == len(items) and all(map(is_path_of_image, texts)):
        kinds = ["images"] * len(items)
    if len(set(kinds)) > 1:
        one, other = list(dict.fromkeys(kinds))[:2]
        at = [shown(names[kinds.index(kind)]) for kind in (one, other)]
        raise SchemaError(
            f"stimuli has {one} ({at[0]}) and {other} ({at[1]}); a network takes one kind at a time"
        )
    by_label = dict(zip(names, items, strict=True))

    def read(label: str) -> Any:
        item = by_label[label]
        if kinds[0] != "images":
            return item
        if isinstance(item, str | os.PathLike):
            return opened(partial(_bytes, os.fspath(item)), label, item)
        return opened(item, label, "")

    return Stimuli(labels, kinds[0], read)


def _bytes(path: str) -> bytes:
    files, root = url_to_fs(path if "://" in path else str(local_path(path)))
    content: bytes = files.cat_file(root)
    return content


def _kind(label: str, item: Any) -> str:
    """What a stimulus is."""
    if isinstance(item, str):
        if not item.strip():
            raise SchemaError(f"the text of {shown(label)} is empty; leave the stimulus out")
        return "texts"
    if isinstance(item, os.PathLike) or is_image(item):
        return "images"
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        return "arrays"
    raise SchemaError(
        f"stimulus {shown(label)} must be a text, a path, an image of Pillow or an array, got "
        f"{came(item)}"
    )


def _labelled(labels: Any, coords: Mapping[str, Any] | None = None) -> xr.DataArray:
    """Labels as a coordinate, with others beside it."""
    names = label_text(list(labels), "stimuli")
    return xr.DataArray(names, {"stimulus": names, **(coords or {})}, ("stimulus",), "stimulus")
