"""What every measure whose sums are over stimuli has to obey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xconverge.kernels.kernel import Kernel, RowKernel, prepared, score
from xconverge.kernels.vectors import Array


def models(count: int, width: int, seed: int = 0, n: int = 40, noise: float = 1.0) -> list[Array]:
    """Models that share something, each of another width and an offset."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).standard_normal((n, 6))
    return [
        common @ rng.standard_normal((6, width + m))
        + noise * rng.standard_normal((n, width + m))
        + 10 * rng.standard_normal(width + m)
        for m in range(count)
    ]


def cut(n: int, seed: int) -> list[slice]:
    """Random blocks that cover n rows."""
    edges = np.random.default_rng(seed).choice(np.arange(1, n), 4, replace=False)
    stops = [0, *sorted(map(int, edges)), n]
    return [slice(*edge) for edge in pairwise(stops)]


def merged_in_pairs(merge: Callable[[Sequence[Any]], Any], parts: list[Any]) -> Any:
    """In a tree, as an engine does it."""
    while len(parts) > 1:
        parts = [merge(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return parts[0]


def in_blocks(
    kernel: RowKernel[Any], x: Array, y: Array, parts: list[slice], given: Array | None = None
) -> Array:
    """The score (1, 1) of two models that are read block by block, over what both saw."""
    seen = [~np.isnan(rows).any(1) for rows in (x, y)]
    fits = []
    for rows, there in zip((x, y), seen, strict=True):
        known = [
            kernel.measure(
                rows[p][there[p]], rows.shape[1], None if given is None else given[p][there[p]]
            )
            for p in parts
        ]
        fits.append(kernel.fitted(merged_in_pairs(kernel.merge, known)))
    common = seen[0] & seen[1]
    inside = [None if given is None else given[p][common[p]] for p in parts]
    placed = [
        [kernel.place(rows[p][common[p]], rows.shape[1], fit) for p in parts]
        for rows, fit in zip((x, y), fits, strict=True)
    ]

    def of_pair(one: list[Any], other: list[Any]) -> Any:
        sums = [kernel.cross(*blocks) for blocks in zip(one, other, inside, strict=True)]
        return merged_in_pairs(kernel.combine, sums)

    own = [[kernel.own_of(of_pair(side, side)) if kernel.has_own else None] for side in placed]
    return kernel.finish(kernel.reduced(of_pair(*placed)), *own)


def assert_law_of_take(
    kernel: Kernel[Any],
    a: Sequence[Any],
    b: Sequence[Any],
    where: Array,
    given: Array | None,
    rtol: float,
) -> None:
    """A permutation of all stimuli of both sides changes no score."""
    moved = [[kernel.take(state, where) for state in side] for side in (a, b)]
    inside = None if given is None else given[where]
    none = [None] * max(len(a), len(b))
    np.testing.assert_allclose(
        kernel.finish(kernel.sums(*moved, inside), none, none),
        kernel.finish(kernel.sums(a, b, given), none, none),
        rtol=rtol,
    )


def assert_pools(
    kernel: Kernel[Any],
    a: Sequence[Array],
    b: Sequence[Array],
    expected: Callable[[Array, Array], float],
    given: Array | None = None,
    rtol: float = 1e-10,
) -> None:
    """Scores of models with missing rows are those of plain loops over the pairs."""
    rank = np.arange(len(a[0]))
    sides = [
        [prepared(kernel, rows, rows.shape[1], rank, given) for rows in side] for side in (a, b)
    ]
    np.testing.assert_allclose(
        score(kernel, *sides, given), [[expected(x, y) for y in b] for x in a], rtol=rtol
    )
