"""What the documentation says of a measure, in the row that the code dispatches on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

Part = tuple[xr.DataArray, Sequence[str]]
"""An array, and its core dims after the model."""


@dataclass(frozen=True)
class Recipe:
    """What the scores of a measure are made of when stimuli are permuted, or drawn again.

    Parameters
    ----------
    scores : callable
        Kernel: permutations of b (P, n), or how often each stimulus is drawn; which stimuli are
        common (n); arrays of a, of b and of both; the options. Gives scores (P, A, B).
    a, b, both : sequences of (DataArray, core dims)
        Made once; those of a side have its model dim first.
    strata : DataArray, optional
        Number (stimulus) of the group inside which alone stimuli may move.
    chance : DataArray or float, optional
        Mean over all permutations, where it has a closed form.
    least : int
        Common stimuli that it needs.
    options : mapping
        Keywords of ``scores``.
    """

    scores: Callable[..., Any]
    a: Sequence[Part]
    b: Sequence[Part]
    both: Sequence[Part] = ()
    strata: xr.DataArray | None = None
    chance: xr.DataArray | float | None = None
    least: int = 4
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """One row of a table of measures.

    Parameters
    ----------
    function : callable, or row of a table of kernels
        What computes it.
    per : str
        What one number stands for: ``stimulus``, ``model pair``, ``stimulus pair``, ``RDM pair``.
    kind : {"distance", "similarity"}
        Whether large means different or alike.
    formula, range, chance, cost, reference, avoid : str
        Sentences for ``docs/measures.md``; ``avoid`` says when not to use it.
    invariant : tuple of str
        Maps of one model's features that change nothing, out of ``INVARIANCES``.
    null, resampled : callable, optional
        Take the arguments of ``function``, give what its scores are made of when the stimuli of b
        are permuted, and when stimuli are drawn again.
    basis_free : bool
        Of dispersion: whether models need not share axes, nor a width.
    """

    function: Any
    per: str
    kind: str
    formula: str
    range: str
    chance: str
    invariant: tuple[str, ...]
    cost: str
    reference: str
    avoid: str
    null: Callable[..., Recipe] | None = None
    resampled: Callable[..., Recipe] | None = None
    basis_free: bool = False


INVARIANCES = {
    "rotation": "an orthogonal map of the features",
    "translation": "the same vector added to every stimulus",
    "scale": "one positive factor for all features",
    "row norm": "a positive factor for each stimulus",
    "common rotation": "one rotation of all models",
    "common translation": "one vector added to all models",
}
