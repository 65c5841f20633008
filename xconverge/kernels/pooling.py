"""Pooling: (stimulus, feature) of what a layer gives, whatever its shape.

Everything here takes NumPy arrays and tensors of PyTorch alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xconverge.kernels.vectors import Array

POOLS = ("mean", "mean_channels_last", "cls", "last", "flatten")


def pooled(output: Any, pool: str, layer: str, n: int, mask: Array | None = None) -> Any:
    """What is kept of a layer.

    Parameters
    ----------
    output : array
        (stimulus, feature) is taken as it is; (stimulus, token, feature), maps (stimulus, channel,
        row, column).
    pool : str
        One of `POOLS`.
    layer : str
        Its name, for errors.
    n : int
        Stimuli of the batch.
    mask : array, optional
        (stimulus, token), True where a token is one of the text: padding counts nowhere.
    """
    shape = tuple(output.shape)
    if len(shape) < 2 or shape[0] != n:
        raise _refused(layer, pool, shape, f"the first of its dims must be the {n} stimuli")
    if len(shape) == 2:
        return output
    if len(shape) == 3:
        return _of_tokens(output, pool, layer, mask)
    if pool in ("cls", "last"):
        raise _refused(layer, pool, shape, "maps have no tokens; take mean or flatten")
    if pool == "flatten":
        return output.reshape(n, -1)
    return _mean_of_maps(output, pool, layer)


def _refused(layer: str, pool: str, shape: tuple[int, ...], why: str) -> ValueError:
    return ValueError(f"layer {layer!r}: no {pool} of an output of the shape {shape}: {why}")


def _of_tokens(output: Any, pool: str, layer: str, mask: Array | None) -> Any:
    """Of (stimulus, token, feature)."""
    n, length = output.shape[:2]
    shape = tuple(output.shape)
    if mask is None:
        if pool == "flatten":
            return output.reshape(n, -1)
        if pool in ("cls", "last"):
            return output[:, 0 if pool == "cls" else -1]
        return output.mean(1)
    if pool == "flatten":
        raise _refused(layer, pool, shape, "texts differ in length; take mean, cls or last")
    if mask.shape != (n, length):
        raise _refused(layer, pool, shape, f"the texts have {mask.shape[1]} tokens each")
    counts = mask.sum(1)
    if not counts.all():
        raise _refused(layer, pool, shape, "a text has no tokens")
    if pool in ("cls", "last"):
        # padding may stand on either side
        at = mask.argmax(1) if pool == "cls" else length - 1 - mask[:, ::-1].argmax(1)
        return output[list(range(n)), at.tolist()]
    rows, tokens = np.nonzero(~mask)
    kept = output * 1  # a copy
    # set, not multiplied: what stands in padding may be no number
    kept[rows.tolist(), tokens.tolist()] = 0
    return kept.sum(1) / _like(output, counts)[:, None]


def _mean_of_maps(output: Any, pool: str, layer: str) -> Any:
    """The mean over positions of (stimulus, channel, position …), or with channels last."""
    shape = tuple(output.shape)
    last = pool == "mean_channels_last"
    if len(shape) == 4:
        # square maps tell where their channels are
        looks_last = shape[1] == shape[2] != shape[3]
        looks_first = shape[2] == shape[3] != shape[1]
        if looks_last and not last:
            raise _refused(layer, pool, shape, "channels seem to be last; take mean_channels_last")
        if looks_first and last:
            raise _refused(layer, pool, shape, "channels seem to be first; take mean")
    return output.mean(tuple(range(1, len(shape) - 1) if last else range(2, len(shape))))


def _like(output: Any, values: Array) -> Any:
    """Numbers in the library and the dtype of an array, where it is."""
    if hasattr(output, "new_tensor"):
        return output.new_tensor(values.tolist())
    return np.asarray(values, output.dtype)
