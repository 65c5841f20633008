"""Arguments that are no data: numbers, seeds, switches, names. Each is refused by its name."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.kinds import came


def whole(name: str, value: Any, least: int, most: int | None = None, why: str = "") -> int:
    """A whole number from ``least`` to ``most``; ``why`` says where the bounds come from."""
    wanted = f"{name} must be a whole number, {least} at least"
    if most is not None:
        wanted = f"{name} must be a whole number between {least} and {most}"
    wanted += f"{f' ({why})' if why else ''}, got {name}={came(value)}"
    if isinstance(value, bool | np.bool_):
        raise TypeError(wanted)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(wanted) from None
    if number < least or (most is not None and number > most):
        raise ValueError(wanted)
    return number


def wholes(name: str, given: Any, least: int, most: int, why: str) -> list[int]:
    """Several whole numbers between these."""
    one = isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable)
    values = [] if one else list(given)
    if not values:
        raise TypeError(f"{name} must be a list of whole numbers, got {name}={came(given)}")
    return [whole(f"{name}[{i}]", value, least, most, why) for i, value in enumerate(values)]


def check_neighbors(k: Any, n_stimuli: int, name: str = "k", least: int = 1) -> int:
    """A number of neighbours that stimuli have among ``n_stimuli``."""
    if isinstance(k, int | np.integer) and not isinstance(k, bool) and k >= n_stimuli:
        raise ValueError(
            f"{name}={k} neighbours need at least {k + 1} stimuli, there are {n_stimuli}; give "
            f"{name} between {least} and {max(n_stimuli - 1, least)}, or more stimuli"
        )
    most = max(n_stimuli - 1, least)
    return whole(name, k, least, most, f"neighbours among {n_stimuli} stimuli")


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """A finite number inside bounds that are or are not allowed themselves."""
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    told = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    wanted = f"{name} must be a number{f' {told}' if told else ''}, got {name}={came(value)}"
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(wanted)
    number = float(value)
    inside = (
        np.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not inside:
        raise ValueError(wanted)
    return number


def flags(**given: Any) -> None:
    """Arguments that are True or False, and nothing that Python takes for one of them."""
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {name}={came(value)}")


def text(name: str, value: Any, what: str = "text") -> str:
    """A name; ``what`` says of what."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be {what}, got {name}={came(value)}")
    if not value:
        raise ValueError(f"{name} must be {what}, and is empty: {name}=''")
    return value


def callback(name: str, value: Callable[..., Any] | None) -> None:
    """A function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function or None, got {name}={came(value)}")


def check_seed(rng: Any, name: str = "rng") -> None:
    """None, a Generator, or a seed."""
    if rng is None or isinstance(rng, np.random.Generator):
        return
    wanted = f"{name} must be a whole number, 0 at least, a numpy.random.Generator or None"
    if isinstance(rng, bool | np.bool_) or not isinstance(rng, int | np.integer):
        raise TypeError(f"{wanted}, got {name}={came(rng)}")
    if rng < 0:
        raise ValueError(f"{wanted}, got {name}={came(rng)}")


def several(name: str, given: Any) -> list[Any]:
    """One array or name, or a list of them; what only looks like a list of arrays is refused."""
    if isinstance(given, str | xr.DataArray | pd.Series):
        return [given]
    if isinstance(given, list | tuple):
        return list(given)
    raise TypeError(
        f"{name} must be a DataArray with labels on 'stimulus', or a list of them, got "
        f"{name}={came(given)}: values are joined on labels, never on position"
    )
