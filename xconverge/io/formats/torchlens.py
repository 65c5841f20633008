"""Activations that TorchLens recorded: traces, and what it extracted of whole data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.io.formats._rows import all_rows
from xconverge.io.formats._sets import checked
from xconverge.io.formats._tensors import import_torch, numpy_of
from xconverge.kernels.pooling import POOLS, pooled
from xconverge.kernels.vectors import Array
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.stack import stack_models
from xconverge.labels.text import label_text, one_label

Pool = str | Callable[[Array], Any] | None


def from_torchlens(
    activations: Any,
    stimuli: Sequence[object] | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    pool: Pool = None,
    network: str | None = None,
    modality: str | None = None,
) -> xr.DataArray:
    """Make a representation set of activations that TorchLens recorded, a model a layer.

    Parameters
    ----------
    activations : Trace, sequence of Trace, ExtractionReader, or dict of tensors
        What ``torchlens.trace(net, images)`` returned, or a list of them, one a batch; an
        extraction of a data set, as ``open_extraction(folder)`` opens it; or ``layer: tensor``, as
        ``torchlens.extract`` returns it. The first dim is that of stimuli.
    stimuli : sequence of str, optional
        Label of each stimulus, in the order they were shown; default those of an extraction. Nobody
        else knows them.
    layers : str or sequence of str, optional
        As TorchLens looks them up: ``"conv2d_1_1"``, ``"layer1.0"``, ``"relu:2"``. Default all that
        were saved, but for input and output.
    pool : {"mean", "mean_channels_last", "cls", "last", "flatten"} or callable, optional
        What makes (stimulus, feature) of layers that have more dims, as in `extract`: the mean over
        rows and columns of (stimulus, channel, row, column) or over tokens of (stimulus, token,
        feature); the first or the last token; all numbers; or a function of an array that returns
        one. Layers that are (stimulus, feature) stay as they are.
    network : str, optional
        Name of the network; default the class of the module, as the trace says it.
    modality : str, optional
        Goes into ``attrs["modality"]``.

    Returns
    -------
    DataArray
        ``representation`` (model, stimulus, feature), in memory. Models are called
        ``"NETWORK LAYER"``, with the coordinates ``network`` and ``layer``, and ``pooling`` where
        ``pool`` is given.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    SchemaError
        No labels, or not as many as rows; a layer that is not there, was not saved, or may be
        several; more than (stimulus, feature) without ``pool``; what is no number.
    TypeError
        None of these sources.

    Notes
    -----
    Layers of unlike width are padded with NaN. An extraction is read as a whole, as far as
    TorchLens allows (``materialize``). Taylor & Kriegeskorte (2023,
    doi:10.1038/s41598-023-40807-0).

    Examples
    --------
    >>> import torch, torchlens
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> trace = torchlens.trace(net.eval(), torch.ones(2, 4))
    >>> reps = from_torchlens(trace, ["cat", "dog"], layers=["relu_1_2", "linear_2_3"])
    >>> reps.model.values.tolist(), reps.n_features.values.tolist()
    (['Sequential relu_1_2', 'Sequential linear_2_3'], [3, 2])
    """
    torch = import_torch("from_torchlens")
    if not (pool is None or callable(pool) or pool in POOLS):
        raise ValueError(f"pool must be one of {listing(POOLS)}, or a function, got pool={pool!r}")
    wanted = [layers] if isinstance(layers, str) else None if layers is None else list(layers)
    found, named = _tensors(activations, wanted)
    if not found:
        raise SchemaError("activations have no saved layers; choose some with layers=[…]")
    if network is None and named is None:
        raise SchemaError(
            "activations do not say which network they are of; name it with network='…'"
        )
    name = one_label(named if network is None else network, "network")
    if stimuli is None and hasattr(activations, "stimulus_ids"):
        stimuli = activations.stimulus_ids()
    if stimuli is None:
        raise SchemaError(
            "activations do not say which stimuli their rows are, and rows are never named by "
            "their position; give stimuli=[…] in the order they were shown"
        )
    labels = list(label_text(stimuli, "stimuli"))
    models = {}
    for layer, parts in found.items():
        arrays = [_numbers(part, f"layer {layer!r}", torch) for part in parts]
        rows = all_rows(arrays, f"batches of layer {layer!r}")
        models[f"{name} {layer}"] = _pooled(rows, pool, layer, len(labels))
    reps = checked(stack_models(models, stimuli=labels, modality=modality), "activations")
    coords: dict[str, Any] = {"network": [name] * len(models), "layer": list(found)}
    if pool is not None:
        how = pool if isinstance(pool, str) else getattr(pool, "__name__", "function")
        coords["pooling"] = [how] * len(models)
    each = {key: ("model", np.array(values, dtype=object)) for key, values in coords.items()}
    return reps.assign_coords(each)


def _tensors(activations: Any, layers: list[str] | None) -> tuple[dict[str, list[Any]], str | None]:
    """Tensors of every layer, one a batch, and the name of the network."""
    if isinstance(activations, Mapping):
        return _of_mapping(activations, layers, list(activations)), None
    if hasattr(activations, "materialize"):
        keys = list(activations.keys)
        known = keys if layers is None else [key for key in layers if key in keys]
        return _of_mapping(activations.materialize(known), layers, keys), None
    batches = list(activations) if isinstance(activations, list | tuple) else [activations]
    wrong = [one for one in batches if not hasattr(one, "layer_labels")]
    if wrong or not batches:
        raise TypeError(
            "activations must be a Trace of TorchLens, a list of them, an extraction or a dict of "
            f"tensors, got {came(wrong[0] if wrong else activations)}"
        )
    names = list(_saved(batches[0])) if layers is None else layers
    found = {layer: [_looked_up(trace, layer) for trace in batches] for layer in names}
    return found, str(batches[0].model_class_name)


def _of_mapping(
    tensors: Mapping[str, Any], layers: list[str] | None, keys: list[str]
) -> dict[str, list[Any]]:
    names = keys if layers is None else layers
    lacking = [layer for layer in names if layer not in keys]
    if lacking:
        raise SchemaError(
            f"activations have no layer {listing(lacking)}; there is {listing(keys, 30)}"
        )
    return {str(layer): [tensors[layer]] for layer in names}


def _saved(trace: Any) -> Iterator[str]:
    """Labels of the layers whose activations a trace has, but for its inputs and outputs."""
    for label in trace.layer_labels:
        layer = trace[label]
        if label not in (*trace.input_layers, *trace.output_layers) and layer.has_saved_activation:
            yield str(label)


def _looked_up(trace: Any, layer: str) -> Any:
    """The activation of a layer, as TorchLens finds it."""
    try:
        tensor = trace[layer].out
    # its errors have classes of their own, with a remedy each
    except Exception as error:
        raise SchemaError(
            f"layers: {layer!r} is not one that the trace has saved: {error} There is "
            f"{listing(trace.layer_labels, 30)}"
        ) from error
    if tensor is None:
        raise SchemaError(f"layers: {layer!r} was not saved; trace it again, and save it")
    return tensor


def _numbers(tensor: Any, what: str, torch: Any) -> Array:
    """A tensor as an array of numbers in memory."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_complex() or not tensor.ndim:
        raise SchemaError(f"{what} must be a tensor (stimulus, …) of numbers, got {came(tensor)}")
    return numpy_of(tensor.detach().cpu(), torch)


def _pooled(rows: Array, pool: Pool, layer: str, n: int) -> Array:
    """(stimulus, feature) of the activations of a layer."""
    if len(rows) != n:
        raise SchemaError(
            f"layer {layer!r} has {len(rows)} rows (its shape is {rows.shape}), and there are {n} "
            "stimuli; the first dim must be that of the batch"
        )
    if rows.ndim == 2:
        return rows
    if pool is None:
        raise SchemaError(
            f"layer {layer!r} has the shape {rows.shape}, and (stimulus, feature) is needed; "
            f"give pool={', '.join(map(repr, POOLS))} or a function"
        )
    result = np.asarray(pooled(rows, pool, layer, n) if isinstance(pool, str) else pool(rows))
    if result.ndim != 2 or len(result) != n:
        raise SchemaError(
            f"pool must make ({n} stimuli, features) of layer {layer!r}, {rows.shape}; it made "
            f"{result.shape}"
        )
    return result
