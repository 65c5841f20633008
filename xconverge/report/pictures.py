"""Thumbnails of stimuli, inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np

from xconverge.labels.messages import listing
from xconverge.plot.pictures import Images, pictures_of

SIZE = 64
"""Pixels of the longer side."""


def thumbnails(images: Images, labels: Iterable[str], room: int) -> dict[str, str]:
    """Pictures of stimuli as data URIs, of as many labels as ``room`` bytes take.

    Labels come in order of importance; ValueError if none of them has an image.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'xconverge[plot]'") from error
    names, pictures = list(labels), pictures_of(images)
    found: dict[str, str] = {}
    for label in names:
        if label in pictures:
            values = pictures[label]()
            if values.dtype.kind in "fb":
                values = np.nan_to_num(values) * 255.0
            small = Image.fromarray(values.round().astype(np.uint8)).convert("RGBA")
            small.thumbnail((SIZE, SIZE))
            file = io.BytesIO()
            small.save(file, "WEBP", quality=70)
            uri = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
            room -= len(uri)
            if room < 0:
                break
            found[label] = uri
    if not found:
        raise ValueError(
            f"images has no picture of any stimulus: it has {listing(sorted(pictures)) or 'none'}, "
            f"and the stimuli are {listing(names, 3)}. A file is named as its stimulus: "
            f"{names[0]}.png"
        )
    return found
