"""Images: opened upright and on white, and prepared where a network brings no preprocessing."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np

from xconverge.io.formats._needs import needs
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import whole
from xconverge.labels.messages import SchemaError, listing, shown

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def is_path_of_image(path: str) -> bool:
    """Whether a path is one of an image, by its ending."""
    return PurePosixPath(path).suffix.lower() in ENDINGS


def is_image(item: Any) -> bool:
    """Whether this is an image of Pillow, which need not be there."""
    return any(kind.__module__ == "PIL.Image" for kind in type(item).__mro__)


def opened(given: Any, label: str, path: Any) -> Any:
    """The image as RGB, upright (EXIF) and on white; ``given`` is one, or reads its bytes."""
    pillow = needs("PIL.Image", "reading images", "'xconverge[extract]'")
    upright = needs("PIL.ImageOps", "reading images").exif_transpose
    try:
        image = pillow.open(io.BytesIO(given())) if callable(given) else given
        if image.mode.startswith(("I", "F")):
            # Pillow would take all above 255 for white
            raise ValueError(f"it has more than 8 bits a channel (mode {image.mode}); save it in 8")
        image = upright(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        where = f", {shown(path)}" if str(path) else ""
        raise SchemaError(f"the image of {shown(label)}{where}: {error}") from error
    return pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image).convert("RGB")


@dataclass(frozen=True)
class Square:
    """The middle square, resized (bicubic), as (3, size, size): (RGB - mean) / std."""

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The same of a dict, checked."""
        unknown = set(given) - {"size", "mean", "std"}
        if unknown or "size" not in given:
            raise SchemaError(
                "preprocess as a dict has 'size' (pixels a side) and may have 'mean' and 'std' (of "
                f"R, G and B, from 0 to 1); it has {listing(map(str, given))}"
            )
        values: dict[str, Any] = {"size": whole("size", given["size"], 1)}
        for name in ("mean", "std"):
            if name in given:
                three = np.asarray(given[name], float)
                if three.shape != (3,) or not np.isfinite(three).all():
                    raise SchemaError(f"preprocess: {name} must be three numbers, of R, G and B")
                values[name] = tuple(three.tolist())
        if not all(values.get("std", (1,))):
            raise SchemaError("preprocess: std must not be 0")
        return cls(**values)

    def __call__(self, image: Any) -> Array:
        """The pixels of an image."""
        ops = needs("PIL.ImageOps", "preparing images", "'xconverge[extract]'")
        bicubic = needs("PIL.Image", "preparing images").Resampling.BICUBIC
        square = ops.fit(image, (self.size, self.size), bicubic)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        pixels = (np.asarray(square, np.float32) / 255 - mean) / std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def as_image(array: Any) -> Any:
    """Pixels as an image, for preprocessing that takes one."""
    values = np.asarray(array)
    if (
        values.dtype != np.uint8
        or values.ndim not in (2, 3)
        or values.shape[2:] not in ((), (3,), (4,))
    ):
        raise SchemaError(
            "a network with preprocessing of its own takes images as paths, Pillow's, or arrays "
            f"(row, column[, 3 or 4]) of uint8; got {values.dtype} of the shape {values.shape}"
        )
    return opened(needs("PIL.Image", "preparing images").fromarray(values), "an array", "")


Preprocess = Callable[[Any], Any] | Mapping[str, Any] | None
"""A function of an image or of texts, or what `Square` is made of."""
