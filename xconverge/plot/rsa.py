"""RSA by dispersion, models by RSA, and the RDMs themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.labels.checks import check_dims, check_labels
from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing
from xconverge.plot.axes import (
    BAND,
    COLORS,
    FAINT,
    FEW_LINES,
    INK,
    SEQUENTIAL,
    SMALL,
    axes_of,
    bare,
    count,
    legend,
    limits,
    name_lines,
    p_text,
    readable,
    runs,
    style,
    there,
)
from xconverge.plot.inputs import alone, per_stimulus, table_of
from xconverge.study.bins import bin_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 24
"""Groups of an RDM that have a name beside it."""
MOST = 1000
"""Rows of an RDM that a figure has pixels for."""


def rsa_by_bin(result: xr.Dataset | xr.DataTree, ax: Axes | None = None) -> Axes:
    """RSA in each dispersion bin: every model as a thin line, the mean RDM as a thick one.

    Parameters
    ----------
    result : Dataset or DataTree
        The group ``rsa`` of ``analyze``, or the whole study.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Up to 8 models are named beside their lines; more are grey. The grey band is what
        permutations reach, from their mean to the 5 % threshold, where the result keeps it.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import xarray as xr
    >>> result = xr.Dataset(
    ...     {
    ...         "rsa_by_bin": (("bin", "model_a"), [[0.5], [0.1]]),
    ...         "rsa_of_mean_by_bin": ("bin", [0.6, 0.2]),
    ...         "p_value_of_mean_by_bin": ("bin", [0.01, 0.4]),
    ...         "n_stimuli": ("bin", [30, 30]),
    ...     },
    ...     coords={"bin": [0, 1], "model_a": ["vit"]},
    ... )
    >>> len(rsa_by_bin(result).lines)
    3
    """
    result = table_of(
        result, "rsa", "result", "analyze(…)['rsa']",
        rsa_by_bin=None, rsa_of_mean_by_bin=["bin"], p_value_of_mean_by_bin=["bin"],
        n_stimuli=["bin"],
    ).compute()  # fmt: skip
    ax = axes_of(ax, (5.6, 4.0))
    place = result["bin"].values
    each = result["rsa_by_bin"]
    each = each.mean([dim for dim in each.dims if dim not in ("bin", "model_a")])
    models = [readable(name, 24) for name in each["model_a"].values]
    few = len(models) <= FEW_LINES
    ends, names = [], []
    for number, name in enumerate(models):
        line = there(place, each.isel(model_a=number).transpose("bin").values)
        look: dict[str, Any] = {**style(number + 1), "ms": 4} if few else {"color": FAINT}
        said = name if few else f"{len(models)} single models" if number == 0 else None
        ax.plot(*line, lw=1, label=said, **look)
        if few and len(line[0]):
            ends.append((line[0][-1], line[1][-1], look["color"]))
            names.append(name)
    mean = result["rsa_of_mean_by_bin"].values
    ax.plot(*there(place, mean), "o-", color=COLORS[0], lw=2.4, label="mean RDM of the models")
    known = there(place, mean)
    if few and len(known[0]):
        ends.append((known[0][-1], known[1][-1], COLORS[0]))
        names.append("mean RDM of the models" if len(names) < 1 else "mean RDM")
    for name, end in _null_band(ax, result, place, "_of_mean_by_bin"):
        names.append(name)
        ends.append(end)
    _annotate_p(ax, place, mean, result["p_value_of_mean_by_bin"].values, result)
    _over_bins(ax, place, result["n_stimuli"].values)
    if few:
        name_lines(ax, names, ends)
    else:
        legend(ax)
    return ax


def _null_band(
    ax: Axes, result: xr.Dataset, place: Any, after: str = ""
) -> list[tuple[str, tuple[Any, float, str]]]:
    """Shade what permutations reach in a bin, where the result says it; its name and its end."""
    if not {f"chance{after}", f"threshold{after}"} <= {*result.data_vars}:
        return []
    low, high = (result[f"{name}{after}"].values.astype(float) for name in ("chance", "threshold"))
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return []
    share = f"{1 - float(result.attrs.get('alpha', 0.05)):.0%}"
    last = int(np.flatnonzero(known)[-1])
    ax.fill_between(
        np.asarray(place)[known], low[known], high[known], color=BAND, lw=0, zorder=0,
        label=f"{share} of permutations",
    )  # fmt: skip
    return [(f"{share} of\npermutations", (place[last], (low[last] + high[last]) / 2, FAINT))]


def _annotate_p(ax: Axes, place: Any, values: Any, p_values: Any, result: xr.Dataset) -> None:
    """P-values above the points that they are of."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="white")]
    for x, y, p in zip(place, values, p_values, strict=True):
        if np.isfinite(p) and np.isfinite(y):
            ax.annotate(
                p_text(float(p), result.attrs.get("n_permutations")), (x, y), xytext=(0, 8),
                textcoords="offset points", color=INK, fontsize=SMALL, ha="center", zorder=6,
                path_effects=halo,
            )  # fmt: skip


def _over_bins(ax: Axes, place: Any, counts: Any) -> Axes:
    """The axes of RSA by dispersion bin, the bins at ``place`` with so many stimuli."""
    ax.axhline(0, color=INK, lw=0.8)
    names = zip(bin_labels(len(place)), counts, strict=True)
    ax.set_xticks(place, [f"{name}\nn = {int(n):,}" for name, n in names])
    ax.set(xlabel="dispersion bin (low to high)", ylabel="RSA with the target")
    ax.margins(x=0.14, y=0.12)
    return bare(ax)


def binned_rsa(table: xr.Dataset | xr.DataTree, ax: Axes | None = None) -> Axes:
    """RSA by dispersion bin, as it is and without measurement noise, with the ceiling of noise.

    Parameters
    ----------
    table : Dataset or DataTree
        From ``binned_rsa``, of one pair: (bin); or of several models or subjects: (bin) and one
        more dim, a line each. Of trials, with ``rsa_corrected`` and its interval, and ``ceiling``;
        without them RSA alone is drawn. With ``chance`` and ``threshold``, the band that
        permutations reach.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        P-values are those of single bins. "not told" is where repetitions do not suffice for a
        corrected value. Of several lines RSA alone is drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import xarray as xr
    >>> table = xr.Dataset({"rsa": ("bin", [0.5, 0.1]), "n_stimuli": ("bin", [30, 30])})
    >>> len(binned_rsa(table.assign_coords(bin=[0, 1])).lines)
    2
    """
    table = table_of(table, "", "table", "binned_rsa(…)", rsa=None, n_stimuli=["bin"]).compute()
    lone = [d for d in table["rsa"].dims if d != "bin" and table.sizes[d] == 1]
    table = table.squeeze(lone, drop=True)
    several = [str(dim) for dim in table["rsa"].dims if dim != "bin"]
    alone(table["rsa"], ["bin", *several[:1]], "rsa of table")
    ax = axes_of(ax, (5.6, 4.0))
    place = np.arange(table.sizes["bin"])
    if several:
        return _lines_over_bins(ax, table, several[0], place)
    band = _null_band(ax, table, place)
    names, ends = [name for name, _ in band], [end for _, end in band]

    def drawn(name: str, x: Any, y: Any, look: dict[str, Any]) -> None:
        ax.plot(*there(x, y), lw=2.0, label=name, **look)
        if np.isfinite(y).any():
            last = int(np.flatnonzero(np.isfinite(y))[-1])
            names.append(name)
            ends.append((x[last], y[last], look["color"]))

    if "ceiling" in table:
        alone(table["ceiling"], ["bin"], "ceiling of table")
        look = {"ls": "--", "color": INK}
        drawn("ceiling: a true\nmodel, as noisy", place, table["ceiling"].values, look)
    shift = 0.05 if "rsa_corrected" in table else 0.0
    score = table["rsa"].values
    drawn("RSA", place - shift, score, style(0))
    if "rsa_corrected" in table:
        _corrected(ax, table, place + shift)
        value = table["rsa_corrected"].values
        drawn("RSA without\nmeasurement noise", place + shift, value, style(1))
    elif "p_value" in table and table["p_value"].dims == ("bin",):
        _annotate_p(ax, place, score, table["p_value"].values, table)
    _over_bins(ax, place, table["n_stimuli"].values)
    if len(names) > 1:
        name_lines(ax, names, ends)
    elif len(ax.get_legend_handles_labels()[1]) > 1:
        legend(ax)
    return ax


def _corrected(ax: Axes, table: xr.Dataset, place: Any) -> None:
    """Intervals of the corrected RSA, and a word where it is not told."""
    value = table["rsa_corrected"].values
    ends = [table[f"rsa_corrected_{end}"].values for end in ("lower", "upper")]
    known = np.isfinite(value)
    reach = np.abs(np.array(ends)[:, known] - value[known])
    ax.errorbar(place[known], value[known], reach, fmt="none", ecolor=COLORS[1], capsize=3)
    for x in place[~known]:
        ax.annotate(
            "not told", (x, 0), xytext=(0, 6), textcoords="offset points", ha="center",
            color=COLORS[1], fontsize=SMALL,
        )  # fmt: skip


def _lines_over_bins(ax: Axes, table: xr.Dataset, dim: str, place: Any) -> Axes:
    """A line for each label of a dim."""
    scores = table["rsa"].transpose(dim, "bin").values
    labels = table[dim].values if dim in table.indexes else range(len(scores))
    names, ends = [], []
    for number, (label, values) in enumerate(zip(labels, scores, strict=True)):
        look = style(number)
        ax.plot(*there(place, values), lw=1.6, ms=5, label=readable(label, 24), **look)
        if np.isfinite(values).any():
            last = int(np.flatnonzero(np.isfinite(values))[-1])
            names.append(readable(label, 24))
            ends.append((place[last], values[last], look["color"]))
    _over_bins(ax, place, table["n_stimuli"].values)
    name_lines(ax, names, ends)
    return ax


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
        if not np.isnan(band).all():
            reach = np.pad(band, ((1, 1), (0, 0)), mode="edge")
            edges = np.array([-0.5, *place, len(order) - 0.5])
            ax.fill_betweenx(edges, *reach.T, color=BAND, lw=0, zorder=0)
        ax.hlines(place, column[:, 1], column[:, 2], color=color, lw=1.8)
        filled = among[order, number]
        ax.plot(column[filled, 0], place[filled], "o", color=color, ms=5)
        ax.plot(column[~filled, 0], place[~filled], "o", color=color, mfc="white", ms=5)
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
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = [
        Line2D([], [], marker="o", ls="", color=INK, ms=5, label="none is significantly better"),
        Line2D([], [], marker="o", ls="", color=INK, mfc="white", ms=5, label="some model is"),
    ]
    if np.isfinite(highest).any():
        keys.append(Patch(color=BAND, label="noise ceiling"))
    ax.legend(
        handles=keys, frameon=False, fontsize=SMALL, ncols=3, loc="lower center",
        bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip
    return bare(ax)


def rdm(
    rdm: xr.DataArray | xr.Dataset | xr.DataTree,
    order_by: str | xr.DataArray | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """A representational dissimilarity matrix, its stimuli ordered by a coordinate.

    Parameters
    ----------
    rdm : DataArray, Dataset or DataTree
        (stimulus, stimulus_2), from ``xconverge.rdm``; dims of one label are dropped. Or a Dataset
        of one such variable ``rdm``.
    order_by : str or DataArray, optional
        A stimulus coordinate or values (stimulus): stimuli of one value stand together, in the
        order of the values, and groups are marked and named. By default the order of the RDM.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Lines separate groups. Numbers that hardly ever repeat are no groups: their order is told
        on the axis. More than 1,000 stimuli are drawn as means of neighbouring rows and columns.
        Grey is what has no distance.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import rdm as distances
    >>> from xconverge.testing import planted_study
    >>> of_one = distances(planted_study(n_stimuli=12, rng=0)["vision"]).isel(model=0)
    >>> kinds = ["animal", "tool"] * 6
    >>> ax = rdm(of_one.assign_coords(kind=("stimulus", kinds)), "kind")
    >>> ax.get_xlabel()
    '12 stimuli, ordered by kind'
    """
    plain = ("stimulus", "stimulus_2")
    given: object = rdm.to_dataset() if isinstance(rdm, xr.DataTree) else rdm
    if isinstance(given, xr.Dataset) and "rdm" in given:
        given = given["rdm"]
    square = check_dims(given, *plain, what="rdm")
    check_labels(square, *plain, what="rdm")
    square = square.squeeze([d for d in square.dims if d not in plain and square.sizes[d] == 1])
    alone(square, list(plain), "rdm")
    labels, others = square.indexes["stimulus"], square.indexes["stimulus_2"]
    if len(labels) != len(others) or not labels.isin(others).all():
        lacking = [*labels[~labels.isin(others)], *others[~others.isin(labels)]]
        raise SchemaError(
            "rdm must have the same labels on 'stimulus' and 'stimulus_2', which differ in "
            f"{listing(lacking)}"
        )
    square = square.sel(stimulus_2=labels).transpose(*plain)
    values = None if order_by is None else per_stimulus(square, order_by, "order_by")
    order = np.arange(len(labels)) if values is None else np.argsort(_keys(values), kind="stable")
    ax = axes_of(ax, (6.0, 4.4))
    # the layout makes room beside the box that axes of a fixed aspect could fill
    ax.set_anchor("W")
    shown = _fewer(np.asarray(read(square), dtype=float)[np.ix_(order, order)])
    from matplotlib import colormaps

    n = len(labels)
    # distances of a stimulus from itself are 0, and would take half of the colours
    off = shown[~np.eye(len(shown), dtype=bool)] if len(shown) == n else shown
    low, high = limits(off)
    image = ax.imshow(
        shown, cmap=colormaps[SEQUENTIAL].with_extremes(bad="#c9c9c9"), vmin=low,
        vmax=high,
        extent=(-0.5, n - 0.5, n - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    # as high as the matrix, whatever room there is
    beside = ax.inset_axes((1.04, 0.0, 0.045, 1.0))
    bar = ax.get_figure().colorbar(image, cax=beside)  # type: ignore[union-attr]
    bar.set_label(_distance(square), fontsize=9)
    bar.ax.tick_params(labelsize=SMALL)
    ax.tick_params(labelsize=SMALL, colors=INK)
    name = "" if order_by is None else _name_of(order_by)
    ax.set_xlabel(count(n) + (f", ordered by {readable(name)}" if name else ""), fontsize=9)
    _mark_groups(ax, None if values is None else values[order], labels[order])
    return ax


def _distance(square: xr.DataArray) -> str:
    metric = readable(str(square.attrs.get("metric", "")).replace("_", " "))
    return f"{metric} distance".strip()


def _name_of(order_by: Any) -> str:
    return order_by if isinstance(order_by, str) else str(order_by.name or "values given")


def _keys(values: Any) -> Any:
    """What sorts these values: numbers as they are, everything else as text."""
    return values if values.dtype.kind in "fiub" else np.array([str(one) for one in values])


def _fewer(square: Any) -> Any:
    """At most MOST rows and columns, means of those that lie side by side."""
    n = len(square)
    if n <= MOST:
        return square
    edges = np.linspace(0, n, MOST + 1).astype(int)[:-1]
    known = np.isfinite(square)
    parts = [np.where(known, square, 0.0), known.astype(float)]
    total, count = (np.add.reduceat(np.add.reduceat(p, edges, 0), edges, 1) for p in parts)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _order_told(values: Any, labels: Any) -> tuple[Any, list[str]]:
    """Ticks: labels where they have room, some of the numbers that made the order."""
    n = len(labels)
    numbers = values is not None and values.dtype.kind in "fiu"
    if n <= 40 and not numbers:
        return range(n), [readable(label, 24) for label in labels]
    if values is None:
        return [], []
    ticks = np.unique(np.linspace(0, n - 1, 5).astype(int))
    return ticks, [f"{values[i]:.3g}" if numbers else readable(values[i], 16) for i in ticks]


def _mark_groups(ax: Axes, values: Any, labels: Any) -> None:
    """Lines between groups and their names on the axis; or else the order, or the labels."""
    n = len(labels)
    groups = [] if values is None else runs([str(value) for value in values])
    if values is None or len(groups) > max(2, n // 2) or len(groups) > 60:
        ax.set_xticks([])
        ax.set_yticks(*_order_told(values, labels))
        return
    edges = [start - 0.5 for _, start, _ in groups[1:]]
    for edge in edges:
        for line in (ax.axhline, ax.axvline):
            line(edge, color="white", lw=1.0 if len(groups) <= NAMED else 0.4)
    ax.set_xticks(edges, [""] * len(edges))
    ax.set_yticks([])
    from xconverge.plot.placing import GroupNames

    # of many groups the largest have room for a name
    largest = sorted(groups, key=lambda group: group[1] - group[2])[:NAMED]
    told = [
        (f"{readable(value, 24)} ({last - start + 1:,})", start - 0.5, last + 0.5)
        for value, start, last in groups
        if (value, start, last) in largest
    ]
    GroupNames(ax, told)
