"""Feature files of platonic-rep: all layers of a network in one PyTorch file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._reading import reading
from xconverge.io.formats._rows import lazy_rows
from xconverge.io.formats._sets import Ids, ids_of, only_named, representation_set
from xconverge.io.formats._tensors import check_tensor, import_torch, load, numpy_of
from xconverge.io.paths import FilePath, local_path
from xconverge.kernels.vectors import Array
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError, escaped, listing
from xconverge.labels.text import label_text

WHAT = "a feature file of platonic-rep (.pt)"
NUMBERS = ("num_params", "loss", "bpb")


def read_platonic(
    source: FilePath,
    ids: Ids | None = None,
    *,
    layers: Sequence[int | str] | int | str | None = None,
    pattern: str = "*.pt",
    model: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Read feature files of platonic-rep; each layer of each network is a model.

    Parameters
    ----------
    source : path
        A ``.pt`` file that ``extract_features.py`` wrote, or a folder of them, in natural order of
        their names. Needs PyTorch.
    ids : sequence of str, or path
        Ids of the stimuli, as for `read_npy`: the files do not hold them. The rows are in the
        order of the data set that the features were extracted from.
    layers : int or sequence of int, optional
        Layers to read, from 0; negative ones count from the last (``[-1]``). Default all.
    pattern : str
        Files of the folder to read: vision and language networks may share one (``"vit_*.pt"``).
    model : str, optional
        Name of the network, where ``source`` is one file; default the name of the file without its
        extension.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), lazy: a layer is read from its file when it
        is computed. Models are called ``"network layer"``. On ``model`` are the coordinates
        ``network`` and ``layer``, with which ``alignment(…, layers="half")`` scores networks by
        their best layers, and ``num_params``, ``loss`` and ``bpb`` as far as the files have them
        (NaN for networks that lack them). ``n_tokens`` (model, stimulus), from ``mask``, is there
        if all files have one. bfloat16 becomes float32.

    Raises
    ------
    FileNotFoundError
        There is no such file, or none in the folder.
    ImportError
        PyTorch is not installed.
    SchemaError
        No ids, or not as many as rows; no ``feats`` of shape (stimuli, layers, features), or list
        of (stimuli, features); a layer that a network does not have; a damaged file, or one that
        holds other Python objects than tensors, numbers, text, lists and dicts.

    Notes
    -----
    Files are loaded with ``weights_only=True``: nothing in them is run. The format is that of
    https://github.com/minyoungg/platonic-rep (Huh et al., 2024, arXiv 2405.07987).

    Layers are models, and not a dim of their own, because networks differ in depth: a common dim
    would need layers that nobody has.

    Examples
    --------
    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/vit.pt"
    >>> torch.save({"feats": torch.ones(2, 3, 4), "num_params": 12}, path)
    >>> reps = read_platonic(path, ["cat", "dog"], layers=[0, -1], modality="vision")
    >>> reps.model.values.tolist(), reps.layer.values.tolist()
    (['vit 0', 'vit 2'], [0, 2])
    """
    torch = import_torch("read_platonic")
    root = local_path(source)
    files = _files(root, pattern)
    named = only_named({file.stem: file for file in files}, model, source, "files")
    if len(named) < len(files):
        raise SchemaError(
            f"{source} has networks of one name: {listing(file.name for file in files)}; choose "
            "among them with pattern='…'"
        )
    labels = ids_of(ids, root)
    networks = {name: _network(file, layers, torch) for name, file in named.items()}
    models = {
        f"{name} {layer}": array
        for name, network in networks.items()
        for layer, array in network["layers"].items()
    }
    if len(models) < sum(len(network["layers"]) for network in networks.values()):
        raise SchemaError(
            f"networks and layers do not have names of their own: {listing(networks)}"
        )
    reps = representation_set(models, labels, root, modality)
    return reps.assign_coords(_coordinates(networks, len(labels)))


def _files(source: Path, pattern: str) -> list[Path]:
    if not source.is_dir():
        return [source]
    files = [file for file in source.glob(pattern) if not file.is_dir()]
    if not files:
        raise FileNotFoundError(f"there is no file {pattern!r} in the folder {escaped(source)}")
    rank = natural_rank([file.stem for file in files])
    return [files[i] for i in np.argsort(rank)]


def _network(file: Path, layers: Any, torch: Any) -> dict[str, Any]:
    """Layers of a file, lazy, and what else it says."""
    with reading(file, WHAT) as path:
        content = load(path, torch)
        tensors = _tensors(content, path, torch)
        chosen = range(len(tensors)) if layers is None else _chosen(layers, len(tensors), path)
        found: dict[str, Any] = {"layers": {}}
        for layer in chosen:
            values = check_tensor(tensors[layer], f"{path}: layer {layer}", torch)
            found["layers"][layer] = lazy_rows(
                _read, path, layer, tuple(values.shape), numpy_of(values[:0], torch).dtype, WHAT
            )
        for name in NUMBERS:
            if name in content:
                found[name] = _number(content[name], f"{path}: {name}")
        mask = content.get("mask")
        if mask is not None:
            mask = check_tensor(mask, f"{path}: mask", torch)
            if mask.ndim != 2 or mask.dtype.is_floating_point:
                raise SchemaError(f"{path}: mask must be whole numbers (stimuli, tokens)")
            found["n_tokens"] = numpy_of(mask.to(torch.int64).sum(1), torch)
        return found


def _tensors(content: Any, path: Path, torch: Any) -> Any:
    """Layers (stimuli, features) of what a file holds."""
    feats = content.get("feats") if isinstance(content, dict) else None
    if isinstance(feats, torch.Tensor) and feats.ndim == 3:
        return check_tensor(feats, f"{path}: feats", torch).unbind(1)
    if isinstance(feats, list | tuple) and feats:
        return feats
    keys = listing(content) if isinstance(content, dict) else type(content).__name__
    raise SchemaError(
        f"{path} must hold a dict with 'feats', a tensor (stimuli, layers, features) or a list of "
        f"tensors (stimuli, features); it holds {keys}"
        + (f", feats of shape {tuple(feats.shape)}" if isinstance(feats, torch.Tensor) else "")
    )


def _chosen(layers: Sequence[int | str] | int | str, n_layers: int, path: Path) -> list[int]:
    """Places of the layers, which are numbers or the text of numbers."""
    given = [layers] if isinstance(layers, int | np.integer | str) else list(layers)
    numbers = [text for text in label_text(given, "layers") if re.fullmatch(r"-?\d+", text)]
    places = [int(number) + n_layers * (int(number) < 0) for number in numbers]
    wrong = len(numbers) < len(given) or not all(0 <= place < n_layers for place in places)
    if wrong or not places or len(set(places)) < len(places):
        raise SchemaError(
            f"layers={given} must name layers of {path}, which has {n_layers} (0 to "
            f"{n_layers - 1}), each once"
        )
    return places


def _number(value: Any, what: str) -> float:
    item = value.item() if hasattr(value, "item") else value
    if not isinstance(item, int | float):
        raise SchemaError(f"{what} must be a number, got {type(item).__name__}")
    return float(item)


def _read(path: Path, layer: int, key: Any) -> Array:
    # opened anew in each task: a memory map does not travel to other processes
    torch = import_torch("read_platonic")
    tensors = _tensors(load(path, torch), path, torch)
    values = numpy_of(check_tensor(tensors[layer], f"{path}: layer {layer}", torch), torch)
    return np.array(values[key])


def _coordinates(networks: dict[str, dict[str, Any]], n_stimuli: int) -> dict[str, Any]:
    """Of every layer: its network, its number, and what the file says of the network."""
    each = [(name, layer) for name, network in networks.items() for layer in network["layers"]]
    coords: dict[str, Any] = {
        "network": ("model", np.array([name for name, _ in each], dtype=object)),
        "layer": ("model", np.array([layer for _, layer in each], np.int64)),
    }
    for key in NUMBERS:
        if any(key in network for network in networks.values()):
            coords[key] = ("model", np.array([networks[n].get(key, np.nan) for n, _ in each]))
    tokens = {n: network["n_tokens"] for n, network in networks.items() if "n_tokens" in network}
    if len(tokens) == len(networks):
        wrong = [name for name, counts in tokens.items() if len(counts) != n_stimuli]
        if wrong:
            raise SchemaError(f"mask and feats have different numbers of rows in {listing(wrong)}")
        coords["n_tokens"] = (("model", "stimulus"), np.stack([tokens[n] for n, _ in each]))
    return coords
