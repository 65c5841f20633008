"""Scores of all model pairs where the stimuli of one side are permuted, or those of both drawn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import dask.base
import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.progress import Progress, in_blocks
from xconverge.engine.resources import cores_of_a_task
from xconverge.kernels.block_permutations import log_arrangements
from xconverge.kernels.blocks import on_own_cores
from xconverge.kernels.kernel import Kernel, permuted, resampled
from xconverge.kernels.permutations import BLOCK, n_blocks, permutations, summary
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed
from xconverge.labels.checks import check_kind, check_labels, check_whole
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.plain import plain

Rng = np.random.Generator | int | None
DRAW = "_draw"
BLOCKS = "_block"
LEAST_WAYS = 20
"""Arrangements with which a p-value can be 0.05."""


def seed_of(rng: Rng) -> tuple[int, int]:
    """The seed that a result tells, and the one of its draws.

    A result that tells s is that of ``rng=s``: an int is kept, anything else gives one.
    """
    check_seed(rng)
    if isinstance(rng, int | np.integer):
        told = int(rng)
    else:
        told = int(np.random.default_rng(rng).integers(2**32))
    # draws are not those that a caller makes of the same int for data of their own
    return told, int(np.random.default_rng(told).integers(2**63))


def run(
    kernel: Kernel[Any],
    models: tuple[xr.DataArray, xr.DataArray],
    rank: xr.DataArray,
    n_draws: int,
    seed: int,
    report: Progress,
    given: xr.DataArray | None = None,
    strata: xr.DataArray | None = None,
    resample: Callable[..., Array] | None = None,
    blocks: xr.DataArray | None = None,
) -> tuple[xr.DataArray, int]:
    """Scores (draw, …, model_a, model_b) of draws, the observed one first, and how many were done.

    Permutations of the stimuli of b, inside ``strata``, or what ``resample`` draws of the stimuli
    of both; ``blocks`` of stimuli stay whole. Models are prepared once; then come blocks of draws,
    a few at a time, by dask's scheduler or the cluster. What a block of draws holds depends on the
    seed and its number alone. A task holds all models; an interrupt keeps what is done.
    """
    # each block of draws would prepare them again
    a, b = dask.base.persist(*models)
    # inside folds alone the fits of one side stay as they are
    inside = given if kernel.permuted_inside_folds else None
    more = [] if given is None else [given]
    numbers = xr.DataArray(np.arange(n_blocks(n_draws)), dims=BLOCKS).chunk({BLOCKS: 1})
    scores: xr.DataArray = apply(
        partial(
            _one_block,
            kernel=kernel,
            seed=seed,
            n_draws=n_draws,
            resample=resample,
            cores=cores_of_a_task(_n_tasks(numbers, a, b)),
        ),
        numbers,
        rank,
        _inside(inside, strata, rank),
        xr.full_like(rank, -1) if blocks is None else blocks.drop_vars("stimulus"),
        a,
        b,
        *more,
        core=[
            *([], ["stimulus"], ["stimulus"], ["stimulus"], ["model_a"], ["model_b"]),
            *(["stimulus"] for _ in more),
        ],
        out=[[DRAW, "model_a", "model_b"]],
        sizes={DRAW: BLOCK},
    )
    done = in_blocks(scores, BLOCKS, BLOCK, n_draws, report)
    finished = min(n_draws, done.sizes[BLOCKS] * BLOCK - 1)
    return _joined(done, finished), finished


def _n_tasks(*arrays: xr.DataArray) -> int:
    """One for each block of draws and chunk of further dims; chunks of one dim are made alike."""
    counts: dict[Hashable, int] = {}
    for array in arrays:
        for dim, sizes in array.variable.chunksizes.items():
            counts[dim] = max(len(sizes), counts.get(dim, 1))
    return math.prod(n for dim, n in counts.items() if dim not in ("model_a", "model_b"))


def _one_block(
    block: Array,
    rank: Array,
    strata: Array,
    blocks: Array,
    a: Array,
    b: Array,
    *given: Array,
    kernel: Kernel[Any],
    seed: int,
    n_draws: int,
    resample: Callable[..., Array] | None,
    cores: int,
) -> Array:
    """Scores (BLOCK, A, B) of one block of draws; NaN beyond the last that was asked for.

    ``blocks`` of stimuli are below 0 where there are none. ``cores`` are its own.
    """
    units = None if (blocks < 0).all() else blocks
    asked = min(BLOCK, n_draws + 1 - int(block) * BLOCK)

    def draw(common: Array) -> Array:
        return (resample or permutations)(rank, seed, int(block), strata, common, blocks=units)[
            :asked
        ]

    way = permuted if resample is None else resampled
    scores = np.full((BLOCK, len(a), len(b)), np.nan)
    with on_own_cores(cores):
        scores[:asked] = way(kernel, list(a), list(b), draw, given[0] if given else None)
    return scores


def _joined(blocks: xr.DataArray, n_permutations: int) -> xr.DataArray:
    """Draws (draw, …) of all blocks: the observed score, then ``n_permutations`` others."""
    flat = blocks.stack({"_all": (BLOCKS, DRAW)}, create_index=False)
    flat = flat.drop_vars([BLOCKS, DRAW], errors="ignore").rename({"_all": DRAW})
    return flat.isel({DRAW: slice(n_permutations + 1)}).transpose(DRAW, ...)


def summarized(draws: xr.DataArray, alpha: float, best: float) -> dict[str, xr.DataArray]:
    """What draws (draw, …) say of the first: its chance level, p-value and threshold."""
    names = ("score", "chance", "p_value", "threshold")
    parts = apply(
        partial(summary, alpha=alpha, best=best),
        draws,
        core=[[DRAW]],
        out=[[]] * len(names),
        dtypes=[np.float64] * len(names),
    )
    return dict(zip(names, parts, strict=True))


def strata_of(
    strata: str | xr.DataArray | None, sides: Sequence[xr.DataArray], what: str = "strata"
) -> xr.DataArray | None:
    """Number (stimulus) of the group of each stimulus: a coordinate by name, or values by label."""
    if strata is None:
        return None
    given = per_label(strata, sides, what)
    return given.copy(data=group_codes(given, what))


def blocks_of(
    blocks: str | xr.DataArray | None,
    sides: Sequence[xr.DataArray],
    *inside: xr.DataArray | None,
) -> xr.DataArray | None:
    """Number (stimulus) of the block of each stimulus, as ``strata_of``.

    One that lies in several groups of ``inside``, strata or folds, is refused by name.
    """
    codes = strata_of(blocks, sides, "blocks")
    if codes is None:
        return None
    for groups in inside:
        if groups is None:
            continue
        pairs = np.unique(np.stack([codes.values, groups.values]), axis=1)
        torn = np.flatnonzero(np.bincount(pairs[0]) > 1)
        if len(torn):
            who = codes.indexes["stimulus"][np.isin(codes.values, torn)]
            raise SchemaError(
                f"blocks move inside strata and folds, and {len(torn)} of them are in several, of "
                f"stimuli {listing(who)}: give strata, or groups of the metric, that hold whole "
                "blocks"
            )
    return codes


def tell_few(blocks: xr.DataArray | None, strata: xr.DataArray | None) -> None:
    """Warn where blocks can change places in too few ways for any small p-value."""
    if blocks is None:
        return
    ways = log_arrangements(blocks.values, None if strata is None else strata.values)
    if ways < np.log(LEAST_WAYS):
        warnings.warn(
            f"blocks can change places in {round(np.exp(ways))} ways, and a p-value of 0.05 needs "
            f"at least {LEAST_WAYS}: too few blocks have sizes alike (in one stratum)",
            RuntimeWarning,
            stacklevel=3,
        )


def group_codes(given: xr.DataArray, what: str) -> Array:
    """Number of the group (stimulus) that each of these values stands for, by its text."""
    check_whole(given.values, given.indexes["stimulus"], what)
    _, numbers = np.unique(given.values.astype(str), return_inverse=True)
    return np.asarray(numbers)


def per_label(given: Any, sides: Sequence[xr.DataArray], what: str) -> xr.DataArray:
    """Values (stimulus) in the order of the first side: a coordinate by name, or given by label.

    They are given as an array or a Series; what has no labels is refused, never taken by position.
    """
    index = sides[0].indexes["stimulus"]
    if not isinstance(given, str | xr.DataArray | pd.Series):
        raise TypeError(
            f"{what} must be the name of a coordinate on 'stimulus', or a DataArray with labels on "
            f"'stimulus', got {what}={came(given)}: values are joined on labels, never on position"
        )
    if isinstance(given, str):
        found = [side.coords[given] for side in sides if given in side.coords]
        # of the first side: a pair has renamed coordinates that differ
        found = [coord for coord in found if coord.dims == ("stimulus",)]
        if not found:
            there = {str(n) for s in sides for n, c in s.coords.items() if c.dims == ("stimulus",)}
            raise SchemaError(
                f"{what}={given!r} must be a coordinate on 'stimulus'; there is "
                f"{listing(sorted(there)) or 'none'}"
            )
        return per_label(found[0], sides, what)
    given = plain(check_kind(given, "stimulus", what=what), what)
    check_labels(given, "stimulus", what=what)
    if given.ndim > 1:
        raise SchemaError(
            f"{what} must have one value for each label of 'stimulus' and no other dim, got "
            f"{came(given)}"
        )
    known = given.indexes["stimulus"]
    lacking = index[~index.isin(known)]
    if len(lacking):
        raise SchemaError(
            f"{what} must have one value for each label of 'stimulus', and has none for "
            f"{listing(lacking)}; keep those that have one with xconverge.pair(…, join='inner')"
        )
    values = read(given)[known.get_indexer(index)]
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": index}, name=given.name)


def strata_name(strata: str | xr.DataArray | None) -> str | None:
    """What attrs say of strata."""
    if strata is None or isinstance(strata, str):
        return strata
    return str(getattr(strata, "name", None) or "given")


def _inside(
    first: xr.DataArray | None, second: xr.DataArray | None, rank: xr.DataArray
) -> xr.DataArray:
    """Groups that lie inside those of both."""
    given = [part.values for part in (first, second) if part is not None]
    if not given:
        return xr.zeros_like(rank)
    _, numbers = np.unique(np.stack(given), axis=1, return_inverse=True)
    return rank.copy(data=np.asarray(numbers).reshape(-1))
