"""Sets whose models miss stimuli in every way, for plain loops over what both of a pair saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import xconverge as xc

N, K = 9, 2
"""Stimuli of a set, and neighbours."""


def _patterns() -> dict[str, Any]:
    """Which rows (4, N) are gone, of two models of a and two of b."""
    found = {}

    def gone(name: str, *rows: tuple[Any, Any]) -> None:
        found[name] = np.zeros((4, N), bool)
        for models, stimuli in rows:
            found[name][models, stimuli] = True

    every, half = slice(None), N // 2
    gone("none")
    gone("one row of one model", (0, 2))
    gone("another row of each", (0, 2), (1, 5), (2, 7), (3, 1))
    gone("the same row of all", (every, 4))
    gone("disjoint halves", (0, slice(half)), (2, slice(half, None)))
    gone("one side alone", (slice(2), slice(3, 6)))
    for name, models in (("one", 0), ("all", every)):
        gone(f"all but k + 1 of {name}", (models, slice(K + 1, None)))
        gone(f"all but k of {name}", (models, slice(K, None)))
        gone(f"all of {name}", (models, every))
    gone("all but one row", (0, slice(1, None)))
    return found


PATTERNS = _patterns()
missing = st.one_of(
    st.sampled_from(list(PATTERNS)).map(PATTERNS.__getitem__),
    arrays.arrays(bool, (4, N), elements=st.booleans()),
)


@st.composite
def sides(
    draw: Any, widths: tuple[int, ...] = (5, 3, 4, 5), gone: Any = missing
) -> tuple[xr.DataArray, xr.DataArray]:
    """Two models of a and two of b, that share something; equal rows among them, or ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    kind = draw(st.sampled_from(["plain", "duplicates"]))
    rows, labels = rng.standard_normal((N, 5)), [f"s{i}" for i in rng.permutation(N)]
    models = []
    for width, absent in zip(widths, draw(gone), strict=True):
        one = rows[:, :width] + 0.7 * rng.standard_normal((N, width)) + 1
        if kind == "duplicates":
            one[5:7] = one[:2]
        one[absent] = np.nan
        models.append(one.astype(dtype))
    return (
        xc.stack_models(dict(zip("ab", models[:2], strict=True)), stimuli=labels, modality="x"),
        xc.stack_models(dict(zip("cd", models[2:], strict=True)), stimuli=labels, modality="y"),
    )


def rows_of(side: xr.DataArray) -> list[Any]:
    """The real features of every model, in double."""
    widths = side["n_features"].values if "n_features" in side.coords else [None] * len(side)
    return [
        model[:, :width].astype(np.float64)
        for model, width in zip(side.values, widths, strict=True)
    ]
