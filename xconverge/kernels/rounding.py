"""What is zero but for rounding, and the range in which squares of numbers are numbers.

One bound for all measures. A stored entry is off by up to a few units of its precision, and so a
row x by up to ``relative(dtype, width) * |x|``, whatever is then subtracted from it: a centred row
keeps the error of the row as it was. The distance of two rows is off by up to the sum of both
errors. What is not larger than that is 0, for every measure alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SINGLE, DOUBLE = 2.0**-23, 2.0**-52
"""Distance from 1 to the next number."""
LARGE = 200
"""Numbers between 2^-200 and 2^200 have squares, and squares of squares, that are numbers."""
TIE = 2.0**-40
"""Values closer than this share of the largest are equal: sums of equal terms in another order."""


def unit_of(dtype: np.dtype[Any]) -> float:
    """Distance from 1 to the next number of what data are stored in; whole numbers are exact."""
    if dtype.kind != "f":
        return DOUBLE
    return max(float(np.finfo(dtype).eps), DOUBLE)


def relative(kind: np.dtype[Any] | float, width: int) -> float:
    """How far a row of ``width`` entries of this type, or unit, is off, as a share of its norm.

    With the unit eps every operation is off by eps / 2 at most: a product, a sum, another product
    and storing make 2 eps, and what holds for each entry holds for the norm. An entry that is a sum
    of ``width`` products is off by √width eps / 2 more, for rounding walks at random; nobody sums
    in half precision. The second term also bounds what is computed here, in double.
    """
    eps = kind if isinstance(kind, float) else unit_of(kind)
    return 2 * eps + 0.5 * math.sqrt(max(width, 1)) * min(eps, SINGLE)


def of_columns(kind: np.dtype[Any] | float) -> float:
    """How far a column of entries of this type, or unit, is off, as a share of its largest."""
    eps = kind if isinstance(kind, float) else unit_of(kind)
    return max(4 * eps, 8 * DOUBLE)


def of_spectrum(kind: np.dtype[Any] | float, width: int) -> float:
    """Eigenvalues of X'X that are rounding, as a share of the largest.

    Rounding that is random has the same variance along each of ``width`` directions.
    """
    return max(1e-13, relative(kind, width) ** 2 / max(width, 1))


def without_rounding(square: Array, error: Any) -> Array:
    """Squared distances, in place, 0 where these rows of errors ``error`` in all may be equal."""
    square[square <= np.square(error)] = 0.0
    return square


def of_distances(
    of_square: Callable[[Array], Array], largest: Array, error: Array, width: int
) -> Array:
    """How far distances are off, where the largest squared distance is given and rows are apart.

    A distance changes by what the ``error`` of both rows has along their difference. Rounding that
    is random has √width times less of it along any one direction; four times that is taken.
    """
    along = error * min(1.0, 4 / np.sqrt(max(width, 1)))
    return of_square(np.square(np.sqrt(largest) + along)) - of_square(largest)


def are_equal(values: Array, axis: int | None = None) -> Any:
    """Whether all values that are not NaN differ by no more than a few units of their precision.

    Of values in single precision 16: they are made of products that are as long.
    """
    if not values.size:
        return np.ones(np.delete(values.shape, axis) if axis is not None else (), bool)
    eps = unit_of(values.dtype)
    enough = 16 * eps if eps > DOUBLE else TIE
    low, high = (f(values, axis=axis) for f in (np.fmin.reduce, np.fmax.reduce))
    return ~(high - low > enough * np.maximum(np.abs(low), np.abs(high)))


def exponent_of(x: Array, large: int = LARGE) -> int:
    """0 where squares of the entries are numbers; else the power of two to divide them by."""
    largest = max(float(x.max(initial=0.0)), -float(x.min(initial=0.0)))
    return int(exponents(np.asarray(largest), large))


def power_of_two(x: Array) -> float:
    """2 to the power of ``exponent_of``, by which rows are divided."""
    return float(2.0 ** min(exponent_of(x), 1000))


def exponents(largest: Array, large: int = LARGE) -> Array:
    """The same of sizes (…)."""
    exponent = np.frexp(largest)[1]
    usual = (np.abs(exponent) < large) | ~np.isfinite(largest) | (largest == 0)
    return np.where(usual, 0, exponent)


@overload
def scaled(values: Array, exponent: Array | int) -> Array: ...
@overload
def scaled(values: float, exponent: Array | int) -> Any: ...
def scaled(values: Any, exponent: Any) -> Any:
    """Values · 2^exponent, exactly; the same array where there is nothing to do."""
    return np.ldexp(values, exponent) if np.any(exponent) else values


class RangeError(ValueError):
    """A result that its type of number cannot hold."""


def held(values: Array, exponent: Any = 0, dtype: Any = None) -> Array:
    """Values · 2^exponent, or an error where they are too large or too small for their type."""
    with np.errstate(over="ignore", under="ignore"):
        result = scaled(values, exponent).astype(dtype or values.dtype, copy=False)
    bounds = np.finfo(result.dtype)
    lost = (np.isinf(result) & ~np.isinf(values)) | ((values != 0) & (np.abs(result) < bounds.tiny))
    if lost.any():
        here = np.broadcast_to(exponent, values.shape)[lost][0]
        power = np.log10(abs(float(values[lost][0]))) + float(here) * np.log10(2)
        raise RangeError(
            f"a result of about 1e{power:.0f} is beyond {result.dtype}, which holds numbers from "
            f"{bounds.tiny:.0e} to {bounds.max:.0e}; divide the data by a constant first, or take "
            "a metric that does not depend on their scale, like 'cosine'"
        )
    return np.asarray(result)
