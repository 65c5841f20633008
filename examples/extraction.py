"""What the extraction examples share: reading images, pooling, the loop over what is pending."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from fsspec.core import url_to_fs
from PIL import Image, ImageOps

import xconverge as xc
from xconverge.cli.demo import shipped
from xconverge.cli.main import main as xconverge

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def parser_of(description: str) -> argparse.ArgumentParser:
    """The options that both examples have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--images", help="folder, URL or zip://::FILE.zip (default: emoji)")
    parser.add_argument("--store", default="features.zarr", help="default: %(default)s")
    parser.add_argument("--modality", default="vision", help="default: %(default)s")
    parser.add_argument("--network", help="its name in the store (default: that of the model)")
    parser.add_argument("--pool", choices=POOLS, default="mean", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default: %(default)s)")
    parser.add_argument("--mean", type=float, nargs=3, default=[0.5] * 3, help="of R, G, B")
    parser.add_argument("--std", type=float, nargs=3, default=[0.5] * 3, help="of R, G, B")
    parser.add_argument("--batch", type=int, default=64, help="default: %(default)s")
    return parser


class Images:
    """Images of a folder and those below it; a label is the path there without its ending."""

    def __init__(self, where: str, size: int, mean: list[float], std: list[float]) -> None:
        self.size, self.mean, self.std = size, np.float32(mean), np.float32(std)
        self.files, root = url_to_fs(where)
        self.paths: dict[str, str] = {}
        for path in self.files.find(root):
            label = PurePosixPath(path).relative_to(root).with_suffix("").as_posix()
            if PurePosixPath(path).suffix.lower() in ENDINGS:
                if label in self.paths:
                    raise ValueError(f"{path} and {self.paths[label]} would have one label")
                self.paths[label] = path
        if not self.paths:
            raise FileNotFoundError(f"no images ({', '.join(sorted(ENDINGS))}) in {where}")

    def read(self, label: str) -> np.ndarray:
        """An image as (3, size, size): upright, on white, the middle square, (RGB - mean) / std."""
        try:
            image = Image.open(io.BytesIO(self.files.cat_file(self.paths[label])))
            image = ImageOps.exif_transpose(image).convert("RGBA")
        except OSError as error:
            error.add_note(f"reading {self.paths[label]}")
            raise
        flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        square = ImageOps.fit(flat, (self.size, self.size), Image.Resampling.BICUBIC)
        pixels = (np.asarray(square, np.float32) / 255 - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextmanager
def images_of(options: argparse.Namespace) -> Iterator[Images]:
    """The images that are asked for, or the emoji that are shipped with the package."""
    with shipped() as data:
        where = options.images or f"zip://::{data / 'thumbnails.zip'}"
        yield Images(where, options.size, options.mean, options.std)


POOLS = {
    "mean": lambda x: x.mean(tuple(range(2, x.ndim)) if x.ndim > 3 else 1),
    "cls": lambda x: x[:, 0],
    "flatten": lambda x: x.reshape(len(x), -1),
}


def pooled(output: Any, pool: str, layer: str, n: int) -> Any:
    """(image, feature) of (image, token, feature) or of (image, channel, row, column)."""
    if output.ndim < 2 or len(output) != n or (pool == "cls" and output.ndim > 3):
        raise ValueError(f"layer {layer!r}: no {pool} of an output {tuple(output.shape)}, n = {n}")
    return output if output.ndim == 2 else POOLS[pool](output)


def extract(
    options: argparse.Namespace, images: Images, features: Callable[[np.ndarray], dict[str, Any]]
) -> None:
    """Write each layer as one model, running the images that are pending in any of them."""
    labels = list(images.paths)
    coords = {
        "network": options.network,
        "pooling": options.pool,
        "input": f"{options.size} px, mean {options.mean}, std {options.std}",
    }
    with ExitStack() as stack:
        writers = {}
        for layer, rows in features(images.read(labels[0])[None]).items():
            writers[layer] = xc.ModelWriter(
                *(options.store, options.modality, f"{options.network} {layer}", labels),
                n_features=rows.shape[1],
                coords={**coords, "layer": layer},
            )
            stack.enter_context(writers[layer])
        pending = {layer: set(writer.pending) for layer, writer in writers.items()}
        left = [label for label in labels if any(label in own for own in pending.values())]
        print(f"{len(left)} of {len(labels)} images to run, {len(writers)} layers", flush=True)
        for start in range(0, len(left), options.batch):
            batch = left[start : start + options.batch]
            rows = features(np.stack([images.read(label) for label in batch]))
            for layer, writer in writers.items():
                here = [i for i, label in enumerate(batch) if label in pending[layer]]
                writer.write([batch[i] for i in here], rows[layer][here])
        for writer in writers.values():  # in this order they join the modality
            writer.close()


def show(options: argparse.Namespace) -> None:
    """Say what the store holds, and how far its models agree with each other."""
    xconverge(["info", options.store])
    reps = xc.open_representations(options.store, options.modality)
    print("\nUnbiased CKA of the models:")
    print(xc.alignment(reps, reps, "cka").to_pandas().to_string(float_format="{:.2f}".format))
