"""Stimuli that were chosen, among all that there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.checks import check_table
from xconverge.labels.messages import SchemaError, listing
from xconverge.plot.axes import (
    COLORS,
    FAINT,
    SMALL,
    axes_of,
    bare,
    counted,
    legend,
    makes_room,
    readable,
    titled,
)
from xconverge.plot.inputs import dispersion_of, measure_name, per_stimulus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 20
"""Groups that have a row each; the others share one."""


def selection(
    chosen: xr.Dataset | xr.DataTree,
    dispersion: xr.DataArray | xr.Dataset | xr.DataTree,
    *,
    groups: str | xr.DataArray | None = None,
    measure: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where chosen stimuli lie in the distribution of dispersion, and how many are of each group.

    Parameters
    ----------
    chosen : Dataset or DataTree
        What ``select_stimuli`` or ``optimize_stimuli`` returned.
    dispersion : DataArray, Dataset or DataTree
        Dispersion (stimulus) of all stimuli, the group ``dispersion`` of a study, or the study.
    groups : str or DataArray, optional
        A stimulus coordinate (category …) of dispersion, or values (stimulus): a row for each
        group, with the number of its stimuli that were chosen.
    measure : str, optional
        Which dispersion of a study; ``neighborhood`` by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Grey are all stimuli, blue the chosen ones: as a histogram, or with ``groups`` as a line
        each. More than 20 groups: those with most chosen stimuli have a row, the others share the
        last one.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import dispersion, select_stimuli
    >>> from xconverge.testing import planted_study
    >>> spread = dispersion(planted_study(rng=0)["vision"], "neighborhood")
    >>> selection(select_stimuli(spread, 20), spread).get_title()
    '20 of 120 stimuli'
    """
    table = check_table(
        chosen, "reason", what="chosen", made="select_stimuli(…) or optimize_stimuli(…)"
    )
    spread = dispersion_of(dispersion, measure, "dispersion")
    picked = table.indexes["stimulus"]
    lacking = picked.difference(spread.indexes["stimulus"])
    if len(lacking):
        raise SchemaError(
            f"dispersion has no value for the chosen {listing(lacking)}; give that of all stimuli "
            "that were chosen from"
        )
    inside = spread.indexes["stimulus"].isin(picked)
    values = spread.values.astype(float)
    if groups is None:
        ax = _histogram(axes_of(ax, (5.6, 3.6)), values, inside)
    else:
        kinds = per_stimulus(spread, groups, "groups")
        ax = _strips(ax, values, inside, [str(kind) for kind in kinds])
    ax.set_xlabel(measure_name(spread))
    titled(ax, f"{len(picked):,} of {len(values):,} stimuli")
    return bare(ax)


def _histogram(ax: Axes, values: Any, inside: Any) -> Axes:
    known = np.isfinite(values)
    if known.any():
        n_bars = int(np.clip(2 * known.sum() ** (1 / 3), 5, 60))
        edges = np.histogram_bin_edges(values[known], n_bars).tolist()
        ax.hist(values[known], edges, color="#d4d4d4", edgecolor="white", lw=0.4, label="all")
        ax.hist(
            values[known & inside], edges, color=COLORS[0], edgecolor="white", lw=0.4,
            hatch="////", label="chosen",
        )  # fmt: skip
        ax.plot(
            values[known & inside], np.full((known & inside).sum(), 0.96), "|", color=COLORS[0],
            ms=9, mew=0.8, transform=ax.get_xaxis_transform(), label="each chosen one",
        )  # fmt: skip
        ax.margins(y=0.14)
    counted(ax)
    legend(ax)
    return ax


def _strips(ax: Axes | None, values: Any, inside: Any, kinds: list[str]) -> Axes:
    """A row for each group: all stimuli as thin lines, the chosen ones as thick ones."""
    table = pd.DataFrame({"kind": kinds, "value": values, "inside": inside})
    counts = table.groupby("kind")["inside"].agg(["sum", "size"])
    counts = counts.sort_values(["sum", "size"], ascending=False, kind="stable")
    own = [*counts.index[: ROWS if len(counts) <= ROWS else ROWS - 1]]
    rest = [kind for kind in counts.index if kind not in own]
    rows = [(readable(kind, 26), [kind]) for kind in own]
    rows += [(f"{len(rest):,} other groups", rest)] if rest else []
    ax = axes_of(ax, (5.6, 1.2 + 0.3 * len(rows)))
    names = []
    for place, (name, members) in enumerate(rows):
        of = table[table["kind"].isin(members)]
        ax.vlines(of["value"], place - 0.3, place + 0.3, color=FAINT, lw=0.6, alpha=0.7,
                  label="a stimulus" if place == 0 else "")  # fmt: skip
        best = of[of["inside"]]
        ax.vlines(best["value"], place - 0.38, place + 0.38, color=COLORS[0], lw=1.6,
                  label="chosen" if place == 0 else "")  # fmt: skip
        ax.plot(best["value"], np.full(len(best), place + 0.38), "v", color=COLORS[0], ms=4)
        names.append(f"{name}\n{int(of['inside'].sum()):,} of {len(of):,}")
    ax.set_yticks(range(len(rows)), names, fontsize=SMALL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if makes_room(ax) else {}
    legend(ax, **beside)
    return ax
