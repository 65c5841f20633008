"""The loop: batches of stimuli through a network, each layer written as one model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import xarray as xr

from xconverge.engine.progress import Report
from xconverge.extraction.layers import chosen
from xconverge.extraction.network import Asked, Door, Network, load_network
from xconverge.extraction.stimuli import stimuli_of
from xconverge.io.store import open_representations
from xconverge.io.writer import ModelWriter
from xconverge.io.zarr.places import Options, StorePath
from xconverge.kernels.pooling import POOLS
from xconverge.labels.arguments import flags, text, whole
from xconverge.labels.messages import choose

PRECISIONS = ("float32", "bfloat16", "float16")
THREADS = min(8, os.cpu_count() or 1)
"""Threads that read and prepare stimuli while the network runs."""


def extract(
    stimuli: Any,
    network: Any,
    store: StorePath,
    *,
    modality: str,
    layers: Sequence[str] | str | None = None,
    pool: str = "mean",
    batch_size: int = 64,
    device: str | None = None,
    precision: str = "float32",
    restart: bool = False,
    storage_options: Options | None = None,
) -> xr.DataArray:
    """Run stimuli through a network, and write its layers into a store, batch by batch.

    Parameters
    ----------
    stimuli : path, URL, dict, Series or DataArray
        Images: a folder, a ZIP file or a URL; a label is the path inside of it without its ending.
        A column of a table, ``"captions.csv:caption"``: texts, or paths of images; the column
        ``stimulus``, ``stimulus_id`` or ``id`` has the labels, and others ride along. A ``.txt``
        file: texts, one a line, each its own label. Or label to text, path, image of Pillow or
        array, where a DataArray over ``stimulus`` brings its coordinates along.
    network : str, Network, torch.nn.Module or function
        What `load_network` takes or returns.
    store : str, path or URL
        The store, which is made if missing.
    modality : str
        Its name in the store.
    layers : str or sequence of str, optional
        Names, or patterns in which ``*`` stands for a part of a name and ``**`` for several
        (``"blocks.*"``). Default ``"output"``, what the network as a whole gives.
    pool : {"mean", "mean_channels_last", "cls", "last", "flatten"}
        What is kept of tokens and maps; of texts without padding.
    batch_size : int
        Stimuli that run together.
    device : str, optional
        ``"cpu"``, ``"cuda:1"`` …; default a GPU where PyTorch has one.
    precision : {"float32", "bfloat16", "float16"}
        That of autocast. Pooling, and what is stored, is single precision.
    restart : bool
        Drop what an earlier start has left of models that are not complete.
    storage_options : dict, optional
        Credentials and settings for the URL of a store, as fsspec takes them.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature): the layers of this call, lazy. Models are
        called ``"NETWORK LAYER"`` and have the coordinates ``network``, ``layer``, ``pooling``.
        ``attrs["provenance"]`` says for each network which weights it had, how stimuli were
        prepared, and the software.

    Raises
    ------
    SchemaError
        Layers that are not there, with those that are close; stimuli, outputs or settings that do
        not go together; settings or weights other than those that a model was begun with.
    FileExistsError
        Another process writes one of the models.
    FileNotFoundError
        Stimuli, or weights, that are not there.

    Notes
    -----
    What was written stays, whatever becomes of the process. The same call again runs the batches
    in which something is pending, as they were: a run that was killed gives the same digits as one
    that was not. Several processes may write different networks or layers at once.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> images = {name: np.full((8, 8, 3), i) for i, name in enumerate(["cat", "dog", "emu"])}
    >>> network = load_network(lambda batch: batch.mean((1, 2)), name="mean colour")
    >>> reps = extract(images, network, tempfile.mkdtemp() + "/study.zarr", modality="vision")
    >>> reps.sel(model="mean colour output", stimulus="dog").values
    array([1., 1., 1.], dtype=float32)
    """
    flags(restart=restart)
    text("modality", modality)
    whole("batch_size", batch_size, 1)
    choose("pool", pool, POOLS)
    choose("precision", precision, PRECISIONS)
    if device is not None:
        text("device", device)
    given = stimuli_of(stimuli)
    loaded = network if isinstance(network, Network) else load_network(network)
    door = loaded.door(given.kind)
    names = given.names

    def load(label: str) -> Any:
        return door.one(given.read(label))

    first = door.batch([load(names[0])])
    asked = Asked(
        chosen(layers, loaded.layers_for(door, first), repr(loaded)), pool, device, precision
    )
    seen = loaded.run(door, first, 1, asked)
    known = {**loaded.provenance, "preprocessing": door.told, "precision": precision}
    with ExitStack() as stack:
        writers = {
            layer: stack.enter_context(
                ModelWriter(
                    store,
                    modality,
                    f"{loaded.name} {layer}",
                    given.labels,
                    n_features=seen[layer].shape[1],
                    coords={
                        "network": loaded.name, "layer": layer, "pooling": pool, **loaded.coords,
                    },
                    provenance={loaded.name: known},
                    restart=restart,
                    storage_options=storage_options,
                )
            )
            for layer in asked.layers
        }  # fmt: skip
        _write(writers, _batches(names, batch_size), load, loaded, door, asked)
        for writer in writers.values():  # in this order they join the modality
            writer.close()
    whole_modality = open_representations(store, modality, storage_options=storage_options)
    return whole_modality.sel(model=[f"{loaded.name} {layer}" for layer in asked.layers])


def _batches(names: list[str], size: int) -> list[list[str]]:
    """All stimuli in batches, which do not depend on what is pending: so digits do not either."""
    return [names[start : start + size] for start in range(0, len(names), size)]


def _write(
    writers: dict[str, ModelWriter],
    batches: list[list[str]],
    load: Callable[[str], Any],
    network: Network,
    door: Door,
    asked: Asked,
) -> None:
    """Run every batch in which some layer has something pending."""
    pending = {layer: set(writer.pending) for layer, writer in writers.items()}
    left = [batch for batch in batches if any(own & set(batch) for own in pending.values())]
    report, total, done = Report(f"extracting {network.name}"), sum(map(len, left)), 0
    for batch, prepared in _ahead(left, load):
        rows = network.run(door, door.batch(prepared), len(batch), asked)
        for layer, writer in writers.items():
            here = [i for i, label in enumerate(batch) if label in pending[layer]]
            writer.write([batch[i] for i in here], rows[layer][here])
        done += len(batch)
        report(done, total)


def _ahead(
    batches: list[list[str]], load: Callable[[str], Any]
) -> Iterator[tuple[list[str], list[Any]]]:
    """Batches with their stimuli; the next is read and prepared while one runs."""
    waiting: deque[tuple[list[str], list[Future[Any]]]] = deque()
    threads = ThreadPoolExecutor(THREADS)
    try:
        for batch in batches:
            waiting.append((batch, [threads.submit(load, label) for label in batch]))
            if len(waiting) > 1:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())
    finally:
        threads.shutdown(cancel_futures=True)


def _finished(batch: tuple[list[str], list[Future[Any]]]) -> tuple[list[str], list[Any]]:
    return batch[0], [future.result() for future in batch[1]]
