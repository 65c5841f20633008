"""Models by RSA, over all stimuli and in bins of dispersion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.plot.axes import (
    BAND,
    COLORS,
    FAINT,
    INK,
    SMALL,
    axes_of,
    bare,
    readable,
)
from xconverge.plot.inputs import table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def models_by_subset(table: xr.Dataset | xr.DataTree, ax: Axes | None = None) -> Axes:
    """RSA of every model with its interval, over all stimuli and in each bin of dispersion.

    Parameters
    ----------
    table : Dataset or DataTree
        What ``select_models`` returned.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Models from the best over all stimuli downwards; grey bands are the noise ceilings, filled
        points are models that no other is significantly better than.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import select_models
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=4, rng=0)
    >>> brain = study["language"].rename(model="subject")
    >>> table = select_models(study["vision"], brain, n_permutations=0, rng=0)
    >>> models_by_subset(table).get_xlabel()
    'RSA (all stimuli, then bins from low to high dispersion)'
    """
    both = ["model", "subset"]
    needed = ("rsa", "lower", "upper", "ceiling_lower", "ceiling_upper", "among_best")
    table = table_of(table, "", "table", "select_models(…)", **dict.fromkeys(needed, both))
    score, *ends, lowest, highest, among = (
        table[name].transpose("model", "subset").values for name in needed
    )
    among = among.astype(bool)
    order = np.argsort(np.nan_to_num(score[:, 0], nan=-np.inf), kind="stable")
    place = np.arange(len(order))
    names = [readable(name, 14) for name in table["subset"].values]
    ax = axes_of(ax, (2.4 + 1.45 * len(names), 1.7 + 0.3 * len(order)))
    drawn = np.array([score, *ends, highest, np.zeros_like(score)])
    left, right = np.nanmin(drawn) - 0.04, np.nanmax(drawn) + 0.04
    for number, name in enumerate(names):
        color = COLORS[number % len(COLORS)]
        shift = number * (right - left)
        column = shift + np.column_stack([part[order, number] for part in (score, *ends)])
        band = shift + np.column_stack([lowest[order, number], highest[order, number]])
        _draw_models(ax, column, band, among[order, number], color)
        ax.axvline(shift, color=INK, lw=0.8, ls=":")
        ax.annotate(
            name, (shift + (left + right) / 2, len(order) - 0.4), ha="center", color=INK,
            fontsize=9, fontweight="bold",
        )  # fmt: skip
        if number:
            ax.axvline(shift + left, color=FAINT, lw=0.8)
    ticks = [0.0, *([0.5] if right > 0.6 else [0.2] if right > 0.25 else [])]
    ax.set_xticks(
        [tick + number * (right - left) for number in range(len(names)) for tick in ticks],
        [f"{tick:g}" for _ in names for tick in ticks],
    )
    ax.set_yticks(place, [readable(name, 28) for name in table["model"].values[order]])
    ax.set(
        xlabel="RSA (all stimuli, then bins from low to high dispersion)",
        xlim=(left, left + len(names) * (right - left)),
        ylim=(-0.6, len(order) + 0.1),
    )
    _explain(ax, with_ceiling=bool(np.isfinite(highest).any()))
    return bare(ax)


def _draw_models(ax: Axes, column: Any, band: Any, best: Any, color: str) -> None:
    """Scores with their intervals (model, 3), filled where best, before the ceilings (model, 2)."""
    place = np.arange(len(column))
    if not np.isnan(band).all():
        reach = np.pad(band, ((1, 1), (0, 0)), mode="edge")
        edges = np.array([-0.5, *place, len(column) - 0.5])
        ax.fill_betweenx(edges, *reach.T, color=BAND, lw=0, zorder=0)
    ax.hlines(place, column[:, 1], column[:, 2], color=color, lw=1.8)
    ax.plot(column[best, 0], place[best], "o", color=color, ms=5)
    ax.plot(column[~best, 0], place[~best], "o", color=color, mfc="white", ms=5)


def _explain(ax: Axes, with_ceiling: bool) -> None:
    """A legend above the axes."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = [
        Line2D([], [], marker="o", ls="", color=INK, ms=5, label="none is significantly better"),
        Line2D([], [], marker="o", ls="", color=INK, mfc="white", ms=5, label="some model is"),
    ]
    if with_ceiling:
        keys.append(Patch(color=BAND, label="noise ceiling"))
    ax.legend(
        handles=keys, frameon=False, fontsize=SMALL, ncols=3, loc="lower center",
        bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip
