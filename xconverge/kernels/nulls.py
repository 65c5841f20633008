"""What a map's values may be exchanged for under the null: the orders that they are dealt in.

A draw of any null is an order (n): the values of the map, dealt to other stimuli. So a statistic of
a map has a null by one way, whether labels are permuted, whole blocks, or surrogate maps are drawn:
there the values lie as the surrogate's do, the lowest where it is lowest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from xconverge.kernels.mixed_model import Likeness
from xconverge.kernels.permutations import BLOCK, permutations, whole_run
from xconverge.kernels.related_maps import field_factor
from xconverge.kernels.vectors import Array


class Orders(Protocol):
    """Draws of a null, block by block; ``of_any`` says that they are the same for any values."""

    of_any: ClassVar[bool]

    def __call__(self, block: int, values: Array, usable: Array) -> Array:
        """Orders (BLOCK, n) of a map's values (n); the first of block 0 is the identity.

        What is not ``usable`` (n) stays where it is.
        """


@dataclass(frozen=True)
class Permuted:
    """Labels change places, inside strata (n) if there are any, or whole ``blocks`` (n) do."""

    of_any: ClassVar[bool] = True
    rank: Array
    seed: int
    strata: Array | None = None
    blocks: Array | None = None

    def __call__(self, block: int, values: Array, usable: Array) -> Array:
        """Orders that do not depend on the values."""
        return permutations(self.rank, self.seed, block, self.strata, usable, blocks=self.blocks)


@dataclass(frozen=True)
class Surrogates:
    """Values lie as those of maps that are drawn from a field of this covariance factor (n, n).

    Rows and columns of the lower ``factor`` are in the order of the labels.
    """

    of_any: ClassVar[bool] = False
    rank: Array
    seed: int
    factor: Array

    def __call__(self, block: int, values: Array, usable: Array) -> Array:
        """The values' places in the order that the surrogates give the stimuli."""
        noise = np.random.default_rng([self.seed, block]).standard_normal((BLOCK, len(self.rank)))
        maps = (noise @ self.factor.T)[:, self.rank]
        here = np.flatnonzero(usable)
        orders = np.tile(np.arange(len(values)), (BLOCK, 1))
        lowest_first = here[np.lexsort((self.rank[here], values[here]))]
        places = here[np.argsort(maps[:, here], axis=1)]
        np.put_along_axis(orders, places, lowest_first[None], axis=1)
        if block == 0:
            orders[0] = np.arange(len(values))
        return orders


@dataclass(frozen=True)
class Stimuli:
    """What a task knows of its stimuli, in the order of their labels: what tests of maps need."""

    order: Array
    strata: Array
    blocks: Array
    likeness: Likeness

    @classmethod
    def of(cls, arrays: Sequence[Any], n_squares: int) -> Stimuli:
        """From rank, strata, blocks (n), squares (n, n) and codes (n) in any order of stimuli.

        Or what was made of these before, alone.
        """
        if isinstance(arrays[0], Stimuli):
            return arrays[0]
        rank, strata, blocks, *rest = arrays
        order = np.argsort(rank)
        squares = rest[:n_squares]
        if not np.array_equal(order, np.arange(len(order))):
            squares = [one[np.ix_(order, order)] for one in squares]
        codes = [one[order] for one in rest[n_squares:]]
        return cls(order, strata[order], blocks[order], Likeness(squares, codes))

    def __dask_tokenize__(self) -> str:
        """What dask tells objects apart by: their content, which is read once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.blake2b()
        parts = self.order, self.strata, self.blocks
        for part in (*parts, *self.likeness.squares, *self.likeness.categories):
            digest.update(repr((part.shape, part.dtype)).encode())
            plain = np.ascontiguousarray(part)
            digest.update(repr(plain.tolist()).encode() if plain.dtype.hasobject else plain.data)
        return digest.hexdigest()

    def orders(self, name: str, maps: Array, covariates: Array, seed: int) -> Orders | None:
        """Draws of a null for maps (X, n) with covariates (X, c, n), in the order of labels.

        None where no field can be fitted, and for a mixed model, which draws nothing.
        """
        if name == "mixed":
            return None
        given = np.arange(len(self.order)), self.strata, self.blocks
        if name != "surrogates":
            return orders_of(name, seed, *given)
        factor = field_factor(maps, covariates, self.likeness, seed)
        return None if factor is None else orders_of(name, seed, *given, factor)


def orders_of(
    null: str, seed: int, rank: Array, strata: Array, blocks: Array, *factor: Array
) -> Orders | None:
    """Draws of a null, of stimuli in any order; None where no field could be fitted.

    ``factor`` (n, n), in the order of the labels, is that of surrogates.
    """
    if null != "surrogates":
        return Permuted(rank, seed, strata, blocks if null == "blocks" else None)
    return Surrogates(rank, seed, factor[0]) if np.isfinite(factor[0]).all() else None


def all_orders(orders: Orders, values: Array, usable: Array, count: int) -> Array:
    """The identity and ``count`` orders (1 + count, n)."""
    return whole_run(lambda block: orders(block, values, usable), count)
