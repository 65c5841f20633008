"""Pictures of stimuli, from wherever the user keeps them: arrays, files, a folder or a ZIP file."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from xconverge.io.paths import local_path
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, shown

PIXELS = 160
"""The longer side of a picture; more would not be seen."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Images = str | os.PathLike[str] | Mapping[str, Any]
"""A folder or a ZIP file of ``<stimulus>.png`` and the like, or label to path or array."""
Pictures = dict[str, Callable[[], Any]]


def pictures_of(images: Images) -> Pictures:
    """The picture of each label when it is asked for: (height, width[, 3 or 4])."""
    if isinstance(images, Mapping):
        return {str(label): partial(_given, str(label), one) for label, one in images.items()}
    if not isinstance(images, str | os.PathLike):
        raise TypeError(
            "images must be a folder, a ZIP file, or a dict of label to path or array, got "
            f"{came(images)}"
        )
    path = local_path(images)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        return _by_label({file.name: partial(_opened, file) for file in files})
    if not zipfile.is_zipfile(path):
        raise ValueError(f"images must be a folder or a ZIP file, and {shown(path)} is neither")
    archive = zipfile.ZipFile(path)
    return _by_label({name: partial(_member, archive, name) for name in archive.namelist()})


def _by_label(files: Mapping[str, Callable[[], Any]]) -> Pictures:
    """Files by the labels of their stimuli, which are their names without folder and suffix."""
    found: Pictures = {}
    for name, opened in files.items():
        if name.lower().endswith(SUFFIXES):
            label = PurePosixPath(name).stem
            if label in found:
                raise ValueError(
                    f"images has two pictures of {shown(label)}; give a dict of label to path"
                )
            found[label] = partial(_named, label, name, opened)
    return found


def _given(label: str, one: Any) -> Any:
    if isinstance(one, str | os.PathLike):
        return _named(label, one, partial(_opened, local_path(one)))
    return _array(label, one)


def _named(label: str, name: Any, opened: Callable[[], Any]) -> Any:
    """A picture of a file; what is wrong with it names the stimulus."""
    from PIL import Image

    try:
        return opened()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SchemaError(f"the picture of {shown(label)}, {shown(name)}: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    return _opened(io.BytesIO(archive.read(name)))


def _opened(file: Any) -> Any:
    from PIL import Image

    with Image.open(file) as image:
        image.thumbnail((PIXELS, PIXELS))
        return np.asarray(image.convert("RGBA"))


def _array(label: str, given: Any) -> Any:
    """An array as a picture, not larger than it is seen."""
    values = np.asarray(given)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if (
        values.dtype.kind not in "fiub"
        or values.ndim not in (2, 3)
        or (values.ndim == 3 and values.shape[2] not in (3, 4))
        or not values.size
    ):
        raise SchemaError(
            f"the picture of {shown(label)} must be an array (height, width[, 3 or 4]) of numbers, "
            f"or a path; got {came(given)}"
        )
    step = -(-max(values.shape[:2]) // PIXELS)
    values = values[::step, ::step]
    if values.dtype.kind == "f" and np.nanmax(values, initial=0.0) > 1.0:
        values = values / 255.0
    return np.clip(values, 0, 255 if values.dtype.kind in "iu" else 1)
