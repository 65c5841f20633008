"""Models of any chunking reduced by states that merge: dispersion, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from xconverge.engine.apply import CURE, label_array, named_rows, one_chunk
from xconverge.engine.resources import check_memory, client, cores_of_a_task, room_of_a_task
from xconverge.kernels.blocks import on_own_cores
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array
from xconverge.labels.coordinates import set_aside


class Merging(NamedTuple):
    """How blocks of models merge.

    ``leaf`` makes a state of one block (model, stimulus, feature), ``merge`` one state of
    several, ``finish`` the result (…, stimulus) of the state of all models.
    """

    leaf: Callable[[Array], Any]
    merge: Callable[[Sequence[Any]], Any]
    finish: Callable[[Any], Array]


def over_models(
    array: xr.DataArray,
    kernel: Callable[[Any], Array],
    merging: Merging | None,
    out: Mapping[str, int],
    what: str = "reps",
) -> xr.DataArray:
    """Reduce ``array`` (…, model, stimulus, feature) over model and feature, stimuli in blocks.

    Parameters
    ----------
    array : DataArray
        In memory, or lazy with any chunks: feature is made one chunk; model is left as it is
        where blocks of models merge.
    kernel : callable
        Result (…, stimulus) of a block that holds all models; where blocks of models merge, also
        of a list of the rows (stimulus, feature) of each.
    merging : Merging or None
        How blocks of models merge; None where they do not, and model is made one chunk.
    out : mapping of dim to size
        Dims of the result beside stimulus; they come last.
    what : str
        What the array is called in an error.

    Returns
    -------
    DataArray
        (…, stimulus, *out)
    """
    array = one_chunk(set_aside(array, out), ["feature"] if merging else ["model", "feature"])
    array = array.transpose(..., "model", "stimulus", "feature")
    sizes = tuple(out.values())
    held, cores = True, 1
    if array.chunks is not None:
        held = _can_be_held(array)
        cores = cores_of_a_task(len(array.variable.chunksizes["stimulus"]))
        if merging is None or not held:
            _check_task(array, math.prod(sizes))
    if merging is None or held or len(array.variable.chunksizes["model"]) == 1:
        # states of rows are twice as large as these: none are made where all rows can be held
        outputs = partial(_of_all, kernel=kernel, what=what, cores=cores)
        steps = _Steps(_with_labels, _only, outputs)
    else:
        merge = partial(_merged, merge=merging.merge)
        steps = _Steps(
            partial(_leaves, leaf=merging.leaf, what=what),
            merge,
            partial(_outputs, merge=merge, finish=merging.finish),
        )
    reduced: xr.DataArray = xr.apply_ufunc(
        partial(_merge_blocks, steps=steps, sizes=sizes),
        array,
        label_array(array, "model"),
        label_array(array, "stimulus"),
        input_core_dims=[["model", "stimulus", "feature"], ["model"], ["stimulus"]],
        output_core_dims=[["stimulus", *out]],
        dask="allowed",
        keep_attrs=False,
    )
    return reduced


def _can_be_held(array: xr.DataArray) -> bool:
    """Whether a task may have the rows (…, model, stimulus, feature) of all models of a block."""
    block = [max(chunks) for chunks in array.chunks or ()]
    rows = math.prod(block) // block[-3] * array.sizes["model"] * array.dtype.itemsize
    # workers of a cluster would send rows to each other, and keep those of other blocks
    return client() is None and rows <= BUDGETS.all_models and 2 * rows <= room_of_a_task()


def _check_task(array: xr.DataArray, n_outputs: int) -> None:
    """Refuse blocks that do not fit: what is read, twice that in double, and what comes out."""
    block = [max(chunks) for chunks in array.chunks or ()]
    read = " × ".join(f"{d} {size:,}" for d, size in zip(array.dims, block, strict=True))
    need = math.prod(block) * (array.dtype.itemsize + 16) + n_outputs * block[-2] * 8
    check_memory(need, array.data.npartitions, f"A task over {read}", CURE)


class _Steps(NamedTuple):
    """What becomes of blocks (…, model, stimulus, feature) and their labels.

    ``leaf`` makes states (…) of a block, ``merge`` states of those of several blocks of models,
    ``outputs`` results (…, output, stimulus) of those of all models.
    """

    leaf: Callable[[Array, Array, Array], Array]
    merge: Callable[[Any], Any]
    outputs: Callable[[Any], Array]


class _Block(NamedTuple):
    """Rows (model, stimulus, feature) with the labels that an error names."""

    rows: Array
    models: Array
    stimuli: Array


def _with_labels(x: Array, models: Array, stimuli: Array) -> Array:
    """Blocks as they are, one for each position along the extra dims."""
    states = np.empty(x.shape[:-3], dtype=object)
    for position in np.ndindex(states.shape):
        states[position] = _Block(x[position], models, stimuli)
    return states


def _of_all(blocks: Any, *, kernel: Callable[[Any], Array], what: str, cores: int) -> Array:
    """Results (…, output, stimulus) of blocks that hold all models together.

    ``cores``: those of this machine that the kernel may have.
    """
    blocks = _flat(blocks)
    results = []
    for parts in zip(*(block.ravel() for block in blocks), strict=True):
        models = np.concatenate([np.atleast_1d(part.models) for part in parts])
        rows = parts[0].rows if len(parts) == 1 else [row for part in parts for row in part.rows]
        with on_own_cores(cores):
            results.append(named_rows(kernel, rows, models, parts[0].stimuli, what=what))
    stacked = np.stack(results)
    return np.asarray(stacked.reshape(*blocks[0].shape, -1, stacked.shape[-1]))


def _only(states: Sequence[Any]) -> Any:
    (state,) = states
    return state


def _merge_blocks(
    x: Any, models: Array, stimuli: Array, *, steps: _Steps, sizes: tuple[int, ...]
) -> Any:
    result: Any
    if isinstance(x, da.Array):
        result = _tree(x, models, stimuli, steps, int(np.prod(sizes)))
    else:
        result = steps.outputs([steps.leaf(x, models, stimuli)]).swapaxes(-2, -1)
    return result.reshape(*result.shape[:-1], *sizes)


def _tree(x: da.Array, models: Array, stimuli: Array, steps: _Steps, n_outputs: int) -> da.Array:
    """States of all blocks, merged over models in a tree; at once where they do not merge."""
    extra = tuple(range(x.ndim - 3))
    m, s, f = range(x.ndim - 3, x.ndim)
    meta = np.empty((0,) * (x.ndim - 1))
    states = da.blockwise(
        partial(_of_block, leaf=steps.leaf), (*extra, m, s),
        x, (*extra, m, s, f),
        da.from_array(np.asarray(models, dtype=object), chunks=(x.chunks[m],)), (m,),
        da.from_array(np.asarray(stimuli, dtype=object), chunks=(x.chunks[s],)), (s,),
        concatenate=False, dtype=np.float64, meta=meta,
    )  # fmt: skip
    result: da.Array = da.reduction(
        states,
        chunk=_as_it_is,
        combine=partial(_for_dask, function=steps.merge),
        aggregate=partial(_for_dask, function=steps.outputs),
        axis=m,
        keepdims=True,
        output_size=n_outputs,
        concatenate=False,
        split_every=max(2, len(x.chunks[m])) if steps.merge is _only else 8,
        dtype=np.float64,
        meta=meta,
    )
    swapped: da.Array = result.swapaxes(m, -1)
    return swapped


def _of_block(
    blocks: Sequence[Array], models: Array, stimuli: Array, *, leaf: Callable[..., Array]
) -> Array:
    """The one block along the features; joining even one would copy it."""
    (block,) = blocks
    return leaf(block, models, stimuli)


def _leaves(
    x: Array, models: Array, stimuli: Array, *, leaf: Callable[[Array], Any], what: str
) -> Array:
    """States of a block, one for each position along its extra dims."""
    states = np.empty(x.shape[:-3], dtype=object)
    for position in np.ndindex(states.shape):
        states[position] = named_rows(leaf, x[position], models, stimuli, what=what)
    return states


def _as_it_is(states: Array, axis: Any, keepdims: bool) -> Array:
    return states


def _for_dask(blocks: Any, axis: Any, keepdims: bool, *, function: Callable[[Any], Array]) -> Array:
    return function(blocks)


def _merged(blocks: Any, *, merge: Callable[[Sequence[Any]], Any]) -> Array:
    """One state from those of several blocks, for each position along extra dims."""
    blocks = _flat(blocks)
    if len(blocks) == 1:
        return np.asarray(blocks[0])
    merged = np.empty(blocks[0].shape, dtype=object)
    for position in np.ndindex(merged.shape):
        merged[position] = merge([block[position] for block in blocks])
    return merged


def _outputs(
    blocks: Any, *, merge: Callable[[Any], Array], finish: Callable[[Any], Array]
) -> Array:
    """Results (…, output, stimulus) of the merged states."""
    states = merge(blocks)
    results = np.stack([finish(state) for state in states.ravel()])
    return np.asarray(results.reshape(*states.shape, -1, results.shape[-1]))


def _flat(blocks: Any) -> list[Array]:
    """Blocks of a nested list, as dask hands them to a reduction."""
    if not isinstance(blocks, list):
        return [blocks]
    return [block for nested in blocks for block in _flat(nested)]
