"""The row of a table of measures, and the plan of one call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import xarray as xr

from xconverge.engine.pair import Pair
from xconverge.kernels.kernel import Kernel


@dataclass(frozen=True)
class Measure:
    """One row of a table of measures.

    Parameters
    ----------
    make : callable, or row of a table of kernels
        From a pair of inputs and the options of the measure, its keyword-only arguments, the plan
        of a call.
    per : str
        What one number stands for: ``stimulus``, ``model pair``, ``stimulus pair``, ``RDM pair``.
    kind : {"distance", "similarity"}
        Whether large means different or alike.
    formula, range, chance, cost, reference, avoid : str
        Sentences for ``docs/measures.md``; ``avoid`` says when not to use it.
    invariant : tuple of str
        Maps of one model's features that change nothing, out of ``INVARIANCES``.
    resample : bool
        Whether it has intervals over stimuli drawn again.
    lists : bool
        Whether neighbour lists are all it needs, so that a neighbour graph may stand for a side.
    basis_free : bool
        Of dispersion: whether models need not share axes, nor a width.
    """

    make: Any
    per: str
    kind: str
    formula: str
    range: str
    chance: str
    invariant: tuple[str, ...]
    cost: str
    reference: str
    avoid: str
    resample: bool = False
    lists: bool = False
    basis_free: bool = False

    @property
    def best(self) -> float:
        """The value of perfect agreement."""
        return 0.0 if self.kind == "distance" else 1.0


INVARIANCES = {
    "rotation": "an orthogonal map of the features",
    "translation": "the same vector added to every stimulus",
    "scale": "one positive factor for all features",
    "row norm": "a positive factor for each stimulus",
    "common rotation": "one rotation of all models",
    "common translation": "one vector added to all models",
}


@dataclass(frozen=True)
class Plan:
    """A measure of one call: its kernel, what belongs to the pair, and what attrs say of it.

    Parameters
    ----------
    kernel : Kernel
    given : DataArray, optional
        (stimulus): folds.
    attrs : dict
        Of the result.
    vectors : Pair, optional
        What neighbour graphs were made of: lists that run short are searched again.
    """

    kernel: Kernel[Any]
    given: xr.DataArray | None = None
    attrs: dict[str, Any] | None = None
    vectors: Pair | None = None

    def options(self) -> dict[str, Any]:
        """What the kernel was made with, as attrs; a Boolean is a number there."""
        made = {
            field.name: getattr(self.kernel, field.name)
            for field in fields(self.kernel)  # type: ignore[arg-type]
        }
        told = {name: int(v) if isinstance(v, bool) else v for name, v in made.items()}
        return {**told, **(self.attrs or {})}
