"""Alignment of model pairs, by pool, and of subsets of stimuli."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.labels.messages import choose
from xconverge.plot.axes import (
    COLORS,
    INK,
    SMALL,
    axes_of,
    bare,
    color_bar,
    color_map,
    inches_of,
    legend,
    makes_room,
    p_text,
    readable,
    style,
    there,
    titled,
)
from xconverge.plot.inputs import alone, chance_of, metric_name, over_pairs, scores_of, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULL = 16
"""Columns of a table whose numbers can be read."""
NAMED = 60
"""Rows and columns that are named one by one."""


def alignment_matrix(
    scores: xr.DataArray | xr.Dataset | xr.DataTree,
    ax: Axes | None = None,
    *,
    order: str = "given",
) -> Axes:
    """Mean alignment of every model pair, as a table in colours.

    Parameters
    ----------
    scores : DataArray, Dataset or DataTree
        (model_a, model_b[, stimulus]), from ``alignment``; the group ``alignment`` of a study, or
        the whole study.
    ax : Axes, optional
        Where to draw; a new figure by default.
    order : {"given", "cluster"}
        Rows and columns as they are, or so that models that align alike stand together:
        hierarchical clustering, with average linkage, of the Euclidean distances of rows and of
        columns. A set with itself has one order for both.

    Returns
    -------
    Axes
        Grey is what has no score. A line on the colour bar is the chance level, where the scores
        say it. Tables of more than 16 columns have no numbers.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import xarray as xr
    >>> scores = xr.DataArray([[0.2]], dims=("model_a", "model_b"),
    ...     coords={"model_a": ["vit"], "model_b": ["bert"]})
    >>> [text.get_text() for text in alignment_matrix(scores).texts]
    ['0.20']
    """
    choose("order", order, ["given", "cluster"])
    scores = scores_of(scores, "scores", "model_a", "model_b")
    chance = chance_of(scores)
    if "stimulus" in scores.dims:
        scores = scores.mean("stimulus", keep_attrs=True)
    alone(scores, ["model_a", "model_b"], "scores")
    scores = scores.transpose("model_a", "model_b").compute()
    if order == "cluster":
        scores = _clustered(scores)
    rows, columns = scores.shape
    ax = axes_of(
        ax, (min(2.6 + 0.48 * columns, 16.0), float(np.clip(1.7 + 0.32 * rows, 2.8, 14.0)))
    )
    values = scores.values.astype(float)
    known = values[np.isfinite(values)]
    low = min(0.0, float(known.min(initial=0.0)))
    high = float(known.max(initial=low))
    high = high if high > low else low + 1.0
    image = ax.imshow(values, cmap=color_map("Blues"), vmin=low, vmax=high, aspect="auto")
    if columns <= FULL and rows <= NAMED:
        _write_numbers(ax, values, low, high)
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    _name_models(ax.xaxis, scores["model_b"].values, **slanted)
    _name_models(ax.yaxis, scores["model_a"].values)
    bar = color_bar(ax, image, f"mean {metric_name(scores)}")
    if low <= chance <= high:
        bar.ax.axhline(chance, color="white", lw=2.4)
        bar.ax.axhline(chance, color="black", lw=1.2)
        # at the other side of the bar than its numbers, which it would cover
        bar.ax.annotate(
            f"chance {chance:.2g}", (0, chance), xycoords=("axes fraction", "data"),
            xytext=(-3, 0), textcoords="offset points", fontsize=SMALL, ha="right", va="center",
            rotation=90, color=INK,
        )  # fmt: skip
    ax.spines[:].set_visible(False)
    return ax


def _write_numbers(ax: Axes, values: Any, low: float, high: float) -> None:
    """A number in each cell, white where the cell is dark."""
    for (i, j), value in np.ndenumerate(values):
        dark = np.isfinite(value) and (value - low) / (high - low) > 0.6
        ax.text(
            j, i, f"{value:.2f}".replace("nan", "–"), ha="center", va="center",
            color="white" if dark else "black", fontsize=SMALL,
        )  # fmt: skip


def _name_models(axis: Any, models: Any, **options: Any) -> None:
    """Names beside a table, of some models where they are many."""
    place = np.arange(0, len(models), -(-len(models) // NAMED))
    names = [readable(name, 28) for name in models[place]]
    axis.set_ticks(place, names, fontsize=SMALL + 0.5, **options)


def _clustered(scores: xr.DataArray) -> xr.DataArray:
    """Rows and columns in the order of the leaves of their trees."""
    same = set(scores["model_a"].values) == set(scores["model_b"].values)
    if same:
        scores = scores.sel(model_b=scores["model_a"].values)
    values = scores.values.astype(float)
    known = np.isfinite(values)
    # what is missing moves nothing
    values = np.where(known, values, values[known].mean() if known.any() else 0.0)
    rows = _leaves(values)
    return scores.isel(model_a=rows, model_b=rows if same else _leaves(values.T))


def _leaves(rows: Any) -> Any:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist

    if len(rows) < 3 or not np.isfinite(rows).all():
        return np.arange(len(rows))
    return leaves_list(linkage(pdist(rows), "average", optimal_ordering=len(rows) <= 500))


def pool_curve(curve: xr.Dataset | xr.DataTree, *, ax: Axes | None = None) -> Axes:
    """Alignment in pools of growing size, at fixed k and at a fixed share of the pool.

    Parameters
    ----------
    curve : Dataset or DataTree
        What ``pool_curve`` returned.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Means over model pairs; shaded is one standard deviation over the pools, thin lines are the
        chance levels.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import pool_curve as by_pool
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=2, n_stimuli=60, rng=0)
    >>> ax = pool_curve(by_pool(study["vision"], study["language"], [20, 60], n_repeats=2, rng=0))
    >>> ax.get_xlabel()
    'stimuli in the pool'
    """
    table = table_of(
        curve, "", "curve", "pool_curve(…)",
        alignment=None, chance=None, k=["pool_size", "neighbors"],
        standard_deviation=["pool_size", "neighbors"],
    )  # fmt: skip
    means = {name: over_pairs(table[name]) for name in ("alignment", "chance")}
    for name, one in means.items():
        alone(one, ["pool_size", "neighbors"], f"{name} of curve")
    ax = axes_of(ax, (5.6, 3.8))
    sizes = table["pool_size"].values
    k = table["k"].transpose("neighbors", "pool_size").values
    for number, kind in enumerate(table["neighbors"].values):
        look = style(number)
        score, chance = (means[name].sel(neighbors=kind).values for name in means)
        own = [int(one) for one in k[number]]
        told = f"k = {own[0]}" if len(set(own)) == 1 else f"k = {own[0]} to {own[-1]}"
        words = {"fixed_k": "the same k", "fixed_share": "the same share of the pool"}
        label = f"{words.get(str(kind), readable(kind))} ({told})"
        ax.plot(*there(sizes, score), lw=1.8, label=label, **look)
        reach = table["standard_deviation"].sel(neighbors=kind).values
        ax.fill_between(sizes, score - reach, score + reach, color=look["color"], alpha=0.2, lw=0)
        ax.plot(
            *there(sizes, chance), color=look["color"], lw=1, ls=":", marker=look["marker"], ms=3,
            label=f"chance, {words.get(str(kind), readable(kind))}",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="stimuli in the pool", ylabel=f"mean alignment ({metric_name(table)})")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]) if np.nanmin(means["alignment"]) < 0 else 0)
    legend(ax)
    return bare(ax)


CONTROLS = {
    "random": "random subsets",
    "matched": "matched subsets",
    "surrogates": "maps as smooth",
    "blocks": "whole blocks dealt anew",
}
"""What subsets are compared with, in words."""
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#777777", "marker": "o", "ls": "-"},
    {"color": COLORS[2], "marker": "s", "ls": "--"},
    {"color": COLORS[3], "marker": "^", "ls": "-."},
    {"color": COLORS[4], "marker": "v", "ls": ":"},
)
"""How controls are drawn, in their order; the first of `COLORS` is that of scores."""


def subset_contrast(
    table: xr.Dataset | xr.DataTree, *, pool: str = "full", ax: Axes | None = None
) -> Axes:
    """Alignment of the subsets of low and high dispersion beside that of drawn subsets.

    Parameters
    ----------
    table : Dataset or DataTree
        What ``subset_contrast`` returned.
    pool : {"full", "inside"}
        Where neighbours were searched: among all stimuli, or inside the subset.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        A diamond is the score of a subset. Beside it, a bar for each control: the mean and the
        interval of drawn subsets, ``attrs["level"]`` of them, and the two-sided p-value. Dashed is
        chance. The title has the difference of low and high, with its interval where there is one.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import dispersion, subset_contrast as contrast
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=3, rng=0)
    >>> spread = dispersion(study["vision"], "neighborhood")
    >>> table = contrast(spread, study["vision"], study["language"], size=30, n_random=19, rng=0)
    >>> [tick.get_text() for tick in subset_contrast(table).get_xticklabels()]
    ['low dispersion', 'high dispersion']
    """
    drawn = ["control", "subset", "pool"]
    table = table_of(
        table, "", "table", "subset_contrast(…)",
        score=["subset", "pool"], chance=["subset", "pool"], random_mean=drawn, random_lower=drawn,
        random_upper=drawn, p_value=drawn, low_minus_high=["pool"],
    )  # fmt: skip
    pools = [str(name) for name in table["pool"].values]
    one = table.sel(pool=choose("pool", pool, pools)).compute()
    ax = axes_of(ax, (6.2, 4.0))
    subsets = [str(name) for name in one["subset"].values]
    for place, subset in enumerate(subsets):
        _draw_subset(ax, place, one.sel(subset=subset))
    ax.set_xticks(range(len(subsets)), [f"{readable(name, 24)} dispersion" for name in subsets])
    ax.set_xlim(-0.5, len(subsets) - 0.45)
    where = {"full": "among all stimuli", "inside": "inside the subset"}.get(pool, pool)
    ax.set_ylabel(f"mean {metric_name(table)},\n{where}")
    ax.margins(y=0.14)
    ax.set_ylim(bottom=min(0.0, float(one["score"].min())))
    titled(ax, _difference(one))
    # texts stand all over the axes
    if makes_room(ax):
        columns = 3 if inches_of(ax) > 4 else 2
        legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=columns)
    else:
        legend(ax)
    return bare(ax)


def _draw_subset(ax: Axes, place: int, one: xr.Dataset) -> None:
    """The score of a subset, its chance, and a bar for each control; named at the first place."""
    score, chance = (float(one[name]) for name in ("score", "chance"))
    first = place == 0
    ax.hlines(
        chance, place - 0.42, place + 0.44, color=INK, lw=1, ls="--",
        label="chance" if first else "",
    )  # fmt: skip
    ax.plot(
        place - 0.36, score, "D", color=COLORS[0], ms=9, zorder=5,
        label=f"subset of {one.attrs.get('size', '')}" if first else None,
    )  # fmt: skip
    ax.hlines(score, place - 0.36, place + 0.44, color=COLORS[0], lw=0.8, alpha=0.6)
    controls = [str(name) for name in one["control"].values]
    step = min(0.27, 0.54 / max(len(controls) - 1, 1))
    for number, control in enumerate(controls):
        mean, lower, upper, p = (
            float(one[name].sel(control=control))
            for name in ("random_mean", "random_lower", "random_upper", "p_value")
        )
        look = LOOKS[number % len(LOOKS)]
        x = place - 0.16 + step * number
        _, _, (bar,) = ax.errorbar(
            x, mean, [[mean - lower], [upper - mean]], capsize=5, elinewidth=1.8, ms=6,
            label=CONTROLS.get(control, readable(control)) if first else None, **look,
        )  # fmt: skip
        bar.set_linestyle(look["ls"])
        # the text is on the side of the bar that is away from the score
        below = score >= mean
        ax.annotate(
            p_text(p, one.attrs.get("n_random")), (x, lower if below else upper),
            xytext=(0, -5 if below else 5), textcoords="offset points", ha="center",
            va="top" if below else "bottom", fontsize=SMALL, color=INK,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _difference(one: xr.Dataset) -> str:
    """Low less high in words, with its interval where there is one."""
    gap = float(one["low_minus_high"])
    if not np.isfinite(gap):
        return ""
    told = f"low − high = {gap:+.3f}".replace("-", "−")
    ends = [float(one.get(f"low_minus_high_{end}", np.nan)) for end in ("lower", "upper")]
    if np.isfinite(ends).all():
        low, high = (f"{end:.3f}".replace("-", "−") for end in ends)
        told += f" ({float(one.attrs.get('level', 0.95)):.0%} interval {low} to {high})"
    return told
