"""What the documentation says of a measure, in the row that the code dispatches on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


INVARIANCES = {
    "rotation": "an orthogonal map of the features",
    "translation": "the same vector added to every stimulus",
    "scale": "one positive factor for all features",
    "row norm": "a positive factor for each stimulus",
    "common rotation": "one rotation of all models",
    "common translation": "one vector added to all models",
}
