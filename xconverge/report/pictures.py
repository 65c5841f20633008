"""Small pictures of stimuli, from wherever the user keeps the images."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from xconverge.io.paths import local_path
from xconverge.labels.kinds import came
from xconverge.labels.messages import listing

SIZE = 64
"""Pixels of the longer side."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Images = str | os.PathLike[str] | Mapping[str, Any]
"""A folder or a ZIP file of ``<stimulus>.png`` and the like, or label to path or array."""


def thumbnails(images: Images, labels: Iterable[str], room: int) -> dict[str, str]:
    """Pictures of stimuli as data URIs, of as many labels as ``room`` bytes take.

    Labels come in order of importance; ValueError if none of them has an image.
    """
    try:
        from PIL import Image  # noqa: F401
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'xconverge[plot]'") from error
    names = list(labels)
    openers = _openers(images)
    found: dict[str, str] = {}
    for label in names:
        if label in openers:
            uri = _uri(openers[label])
            room -= len(uri)
            if room < 0:
                break
            found[label] = uri
    if not found:
        raise ValueError(
            f"images has no picture of any stimulus: it has {listing(sorted(openers)) or 'none'}, "
            f"and the stimuli are {listing(names, 3)}. A file is named as its stimulus: "
            f"{names[0]}.png"
        )
    return found


def _openers(images: Images) -> dict[str, Callable[[], Any]]:
    """How each picture is opened, by the label of its stimulus."""
    if isinstance(images, Mapping):
        return {str(label): _opener(one) for label, one in images.items()}
    if not isinstance(images, str | os.PathLike):
        raise TypeError(
            "images must be a folder, a ZIP file, or a dict of label to path or array, got "
            f"{came(images)}"
        )
    path = local_path(images)
    if path.is_dir():
        files = {file.name: file for file in sorted(path.iterdir()) if file.is_file()}
        return {
            PurePosixPath(name).stem: _opener(file)
            for name, file in files.items()
            if name.lower().endswith(SUFFIXES)
        }
    if not zipfile.is_zipfile(path):
        raise ValueError(f"images={str(path)!r} is no folder and no ZIP file")
    archive = zipfile.ZipFile(path)
    return {
        PurePosixPath(name).stem: partial(_member, archive, name)
        for name in archive.namelist()
        if name.lower().endswith(SUFFIXES)
    }


def _member(archive: zipfile.ZipFile, name: str) -> io.BytesIO:
    return io.BytesIO(archive.read(name))


def _opener(one: Any) -> Callable[[], Any]:
    return lambda: one


def _uri(opener: Callable[[], Any]) -> str:
    from PIL import Image

    one = opener()
    if isinstance(one, str | os.PathLike):
        one = Path(local_path(one))
    picture: Image.Image
    if isinstance(one, Path | io.BytesIO):
        picture = Image.open(one)
    else:
        values = np.asarray(one)
        if values.dtype.kind == "f":
            values = (values.clip(0, 1) * 255).round()
        picture = Image.fromarray(values.astype(np.uint8))
    picture = picture.convert("RGBA")
    picture.thumbnail((SIZE, SIZE))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
