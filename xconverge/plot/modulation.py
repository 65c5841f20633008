"""Dispersion, and what it says of alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.kernels.ranks import bin_means, quantile_bins
from xconverge.labels.arguments import real, whole
from xconverge.labels.checks import check_table
from xconverge.labels.joins import join_labels
from xconverge.labels.kinds import came
from xconverge.plot.axes import (
    COLORS,
    INK,
    SMALL,
    axes_of,
    bare,
    count,
    counted,
    legend,
    p_text,
    pyplot,
    readable,
    style,
    there,
    titled,
)
from xconverge.plot.inputs import (
    MEASURES,
    alone,
    chance_of,
    control_of,
    dispersion_of,
    dispersions_of,
    group_of,
    measure_name,
    metric_name,
    names_of,
    over_pairs,
    scores_of,
)
from xconverge.study.bins import bin_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MADE = "modulation(…) or analyze(…)['modulation']"
ENOUGH = 50
"""Stimuli of which means of tenths say something."""


def dispersion_alignment(
    study_or_dispersion: xr.DataTree | xr.Dataset | xr.DataArray,
    alignment: xr.DataTree | xr.Dataset | xr.DataArray | None = None,
    *,
    measure: str | None = None,
    n_named: int = 8,
    names: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Dispersion of every stimulus against its mean alignment, the most extreme ones named.

    Parameters
    ----------
    study_or_dispersion : DataTree, Dataset or DataArray
        What ``analyze`` returned; or dispersion (stimulus), or a group ``dispersion`` of a study.
    alignment : DataArray, Dataset or DataTree, optional
        Alignment (stimulus), (model_a, model_b, stimulus), or a group ``alignment`` of a study; not
        needed with a whole study.
    measure : str, optional
        Which dispersion of a study; ``neighborhood`` by default.
    n_named : int
        Stimuli that are named: half of them those of the lowest dispersion, half those of the
        highest. A name that finds no free place is left out.
    names : str, optional
        A stimulus coordinate whose values are written in place of labels.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        A point for each stimulus that has both values; the black line goes through the means of
        tenths of the stimuli (from 50 stimuli on); dashed is what unrelated models score, where the
        alignment says it. The title has Spearman's correlation and, of a whole study, its p-value
        of mixed models, and what models of equal noise make: of the mean correlation with each
        model left out and density partialled out, which is another number than the first.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import alignment, dispersion
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(rng=0)
    >>> spread = dispersion(study["vision"], "neighborhood")
    >>> ax = dispersion_alignment(spread, alignment(study["vision"], study["language"]))
    >>> ax.get_xlabel()
    'neighbourhood dispersion'
    """
    whole("n_named", n_named, 0)
    spread = dispersion_of(study_or_dispersion, measure, "study_or_dispersion")
    if alignment is None:
        if not isinstance(group_of(study_or_dispersion, "alignment"), xr.DataTree) or (
            group_of(study_or_dispersion, "alignment") is study_or_dispersion
        ):
            raise TypeError(
                "alignment is needed beside a dispersion: give what xconverge.alignment(a, b) "
                "returns, or the whole study of xconverge.analyze(…) as the first argument"
            )
        alignment = study_or_dispersion
    scores = scores_of(alignment, "alignment", "stimulus")
    chance = chance_of(scores)
    mean = over_pairs(scores)
    alone(mean, ["stimulus"], "alignment")
    spread, mean, _ = join_labels(
        spread, mean, "stimulus", "exact", ("study_or_dispersion", "alignment")
    )
    x, y = spread.values.astype(float), mean.values.astype(float)
    both = np.isfinite(x) & np.isfinite(y)
    texts = np.array(names_of(spread, names), dtype=object)[both]
    x, y = x[both], y[both]
    ax = axes_of(ax, (5.6, 4.2))
    ax.scatter(
        x, y, s=float(np.clip(4000 / max(len(x), 1), 5, 30)), color=COLORS[0], lw=0,
        alpha=float(np.clip(300 / max(len(x), 1), 0.25, 0.8)), rasterized=len(x) > 2000,
        label="a stimulus",
    )  # fmt: skip
    if len(x) >= ENOUGH:
        bins, _ = quantile_bins(x, 10)
        ax.plot(
            *there(bin_means(x, bins, 10), bin_means(y, bins, 10)), "D-", color="black", ms=4,
            lw=1.4, label="means of tenths",
        )  # fmt: skip
    if np.isfinite(chance):
        ax.axhline(chance, color=INK, lw=1, ls="--", label="chance")
    ax.set(xlabel=measure_name(spread), ylabel=f"mean alignment ({metric_name(scores)})")
    ax.margins(0.06)
    titled(ax, *_told(study_or_dispersion, spread, x, y))
    legend(ax, loc="best")
    bare(ax)
    _name_extremes(ax, x, y, texts, n_named)
    return ax


def _name_extremes(ax: Axes, x: Any, y: Any, texts: Any, n_named: int) -> None:
    """Name stimuli of the lowest and the highest x, in turn."""
    order = np.argsort(x, kind="stable")
    n = min(n_named, len(x))
    low, high = order[: (n + 1) // 2], order[::-1][: n // 2]
    which = [*dict.fromkeys(i for pair in zip(low, high, strict=False) for i in pair)]
    which += [int(i) for i in low if i not in which]
    if which:
        from xconverge.plot.placing import PointNames

        shown = [readable(texts[i], 24) for i in which]
        PointNames(ax, np.column_stack([x, y]), which, shown)


def _told(given: object, spread: xr.DataArray, x: Any, y: Any) -> list[str]:
    """What numbers say of a cloud, and what a study says beside."""
    first = f"Spearman’s ρ = {_signed(_rank_correlation(x, y))}, {count(len(x))}"
    if not isinstance(given, xr.DataTree):
        return [first]
    measure = str(spread["measure"].item()) if "measure" in spread.coords else ""
    if "modulation" in given.children:
        table = control_of(given["modulation"].to_dataset())
        if "measure" in table.dims and measure in table["measure"].values:
            table = table.sel(measure=measure)
        p = table.get("p_value_of_mean")
        if p is not None and not p.dims and np.isfinite(p):
            null = str(table.attrs.get("null", "labels"))
            said = p_text(float(p), table.attrs.get("n_permutations"))
            first += f", {said} ({'mixed models' if null == 'mixed' else readable(null)})"
    found = [first]
    if "equal_noise" in given.children and measure == "neighborhood":
        told = given["equal_noise"].to_dataset()
        p = told["equal_noise_p_value"]
        draws = p.attrs.get("n_equal_noise")
        found.append(
            "Each model left out, density partialled out: mean ρ = "
            f"{_signed(float(told['mean_correlation']))}; equal noise makes "
            f"{_signed(float(told['expected_correlation']))} "
            f"({p_text(float(p), draws) or 'no p'}{f', {draws} draws' if draws else ''})"
        )
    return found


def _rank_correlation(x: Any, y: Any) -> float:
    """Spearman's; NaN for fewer than 3 stimuli, and where one side is all equal."""
    from scipy.stats import spearmanr

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    # what differs by rounding alone is equal
    return float(spearmanr(np.round(x, 12), np.round(y, 12)).statistic)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if np.isfinite(value) else "not defined"


def dispersion_histogram(
    study_or_dispersion: xr.DataTree | xr.Dataset | xr.DataArray,
    *,
    measure: str | None = None,
    ax: Axes | None = None,
) -> Axes | Figure:
    """How dispersion is distributed over the stimuli.

    Parameters
    ----------
    study_or_dispersion : DataTree, Dataset or DataArray
        What ``analyze`` returned, its group ``dispersion``, or dispersion (stimulus).
    measure : str, optional
        Which dispersion of a study; by default every one has axes of its own.
    ax : Axes, optional
        Where to draw one measure; a new figure by default.

    Returns
    -------
    Axes or Figure
        Axes of one measure, the Figure of several: bars count stimuli, dashed is the median, the
        title says how many stimuli have a value.

    Raises
    ------
    TypeError
        ``ax`` for several measures.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import dispersion
    >>> from xconverge.testing import planted_study
    >>> spread = dispersion(planted_study(rng=0)["vision"], "neighborhood")
    >>> dispersion_histogram(spread).get_title()
    '120 stimuli'
    """
    spreads = dispersions_of(study_or_dispersion, "study_or_dispersion")
    if "measure" not in spreads.dims or measure is not None or spreads.sizes["measure"] == 1:
        spread = dispersion_of(study_or_dispersion, measure, "study_or_dispersion")
        return _histogram(axes_of(ax, (5.6, 3.4)), spread)
    if ax is not None:
        raise TypeError(
            "ax is one Axes, and there are the measures "
            f"{', '.join(map(str, spreads['measure'].values))}: choose one with measure="
        )
    n = spreads.sizes["measure"]
    columns = 2 if n > 1 else 1
    rows = -(-n // columns)
    figure, grid = pyplot().subplots(
        rows, columns, figsize=(6.4, 2.4 * rows + 0.2), squeeze=False, layout="constrained"
    )
    for one, place in zip(range(n), grid.flat, strict=False):
        _histogram(place, spreads.isel(measure=one).compute())
    for place in grid.flat[n:]:
        place.remove()
    return figure  # type: ignore[no-any-return]


def _histogram(ax: Axes, spread: xr.DataArray) -> Axes:
    values = spread.values.astype(float)
    known = values[np.isfinite(values)]
    lacking = len(values) - len(known)
    if len(known):
        n_bars = int(np.clip(2 * len(known) ** (1 / 3), 5, 60))
        ax.hist(known, bins=n_bars, color=COLORS[0], edgecolor="white", lw=0.4)
        middle = float(np.median(known))
        ax.axvline(middle, color=INK, lw=1.2, ls="--")
        ax.annotate(
            f"median {middle:.3g}", (middle, 1), xycoords=("data", "axes fraction"),
            xytext=(4, -2), textcoords="offset points", fontsize=SMALL, color=INK, va="top",
            ha="left",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    ax.set_xlabel(measure_name(spread), fontsize=9)
    counted(ax)
    titled(ax, count(len(known)) + (f", {lacking:,} without a value" if lacking else ""))
    return bare(ax)


def alignment_by_bin(
    effects: Mapping[str, xr.Dataset] | xr.Dataset | xr.DataTree,
    chance: float | None = None,
    ax: Axes | None = None,
    *,
    measure: str | None = None,
    dispersion: xr.DataTree | xr.Dataset | xr.DataArray | None = None,
    alignment: xr.DataTree | xr.Dataset | xr.DataArray | None = None,
    level: float = 0.95,
) -> Axes:
    """Mean alignment in each dispersion bin, a line for each set of results.

    Parameters
    ----------
    effects : Dataset, DataTree or mapping of label to Dataset
        What ``modulation`` returned, or several by a label each; the group ``modulation`` of a
        study, a line for each measure; or the whole study.
    chance : float, optional
        Alignment of unrelated models, drawn as a dashed line; by default what the results say.
    ax : Axes, optional
        Where to draw; a new figure by default.
    measure : str, optional
        Which dispersion of a study; all of them by default.
    dispersion, alignment : DataArray, Dataset or DataTree, optional
        What one result was made from, or the groups of the study; a whole study has them. They give
        the number of stimuli in each bin, and intervals.
    level : float
        Coverage asked of the intervals.

    Returns
    -------
    Axes
        Bars are intervals of the mean for other stimuli (not other models), by Student's t. A
        bin's stimuli are worth as many independent ones as its share of ``n_effective_of_mean``,
        which the result says of all; all of them where it says nothing. No bar where that is fewer
        than 2, or where dispersion and alignment are not given: a table of ``modulation`` alone
        holds no interval of its bins.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import numpy as np, xarray as xr
    >>> from xconverge import modulation
    >>> x = xr.DataArray(np.arange(9.0), dims="stimulus",
    ...     coords={"stimulus": [f"s{i}" for i in range(9)]})
    >>> effect = modulation(x, -x, null="labels", n_bins=3, n_permutations=0)
    >>> [tick.get_text() for tick in alignment_by_bin({"planted": effect}).get_xticklabels()]
    ['1 of 3', '2 of 3', '3 of 3']
    """
    real("level", level, above=0, below=1)
    if chance is not None:
        real("chance", chance)
    tables = _tables(effects, measure)
    if isinstance(effects, xr.DataTree) and {"dispersion", "alignment"} <= {*effects.children}:
        dispersion = effects if dispersion is None else dispersion
        alignment = effects if alignment is None else alignment
    if (dispersion is None) != (alignment is None):
        raise TypeError("dispersion and alignment are needed together, as the result's inputs")
    ax = axes_of(ax, (5.6, 4.0))
    counts: list[Any] = []
    levels, lowest = [], 0.0
    for number, (label, table) in enumerate(tables.items()):
        means = table["alignment_by_bin_of_mean"]
        n_bins = means.sizes["bin"]
        look = style(number)
        reach = None
        if dispersion is not None and alignment is not None:
            own, reach = _intervals(table, label, len(tables), dispersion, alignment, level)
            counts.append(own)
        # bins that equal values have merged away are NaN: the line goes on past them
        known = np.isfinite(means.values)
        place = means["bin"].values[known] + 0.07 * (number - (len(tables) - 1) / 2)
        ax.errorbar(
            place, means.values[known], None if reach is None else reach[known], lw=1.6, ms=6,
            capsize=3, elinewidth=1.2,
            label=f"{readable(MEASURES.get(label, label))} "
            f"(Spearman {_signed(float(table['correlation_of_mean']))})",
            **look,
        )  # fmt: skip
        levels.append(float(table["_chance"]) if chance is None else chance)
        lowest = min(lowest, *means.values[known], 0.0) if known.any() else lowest
    _mark_chance(ax, levels)
    ax.set_xticks(range(n_bins), _bin_names(n_bins, counts))
    ax.set(
        xlabel=f"dispersion bin (low to high){_n_told(tables)}",
        ylabel="mean alignment" + (f", {level:.0%} intervals" if dispersion is not None else ""),
    )
    ax.margins(x=0.08, y=0.1)
    ax.set_ylim(bottom=None if lowest < 0 else 0)
    if len(tables) > 1:
        legend(ax)
    else:
        titled(ax, *ax.get_legend_handles_labels()[1])
    return bare(ax)


def _mark_chance(ax: Axes, levels: Sequence[float]) -> None:
    """A line at each level that is known, of equal ones one."""
    for value in np.unique(np.round([one for one in levels if np.isfinite(one)], 6)):
        ax.axhline(value, color=INK, lw=1, ls="--")
        ax.annotate(
            f"chance {value:.2g}", (0, value), xycoords=("axes fraction", "data"), xytext=(2, 3),
            textcoords="offset points", color=INK, fontsize=SMALL, ha="left",
        )  # fmt: skip


def _bin_names(n_bins: int, counts: Sequence[Any]) -> list[str]:
    """What bins are called, with the number of their stimuli where a line or more know it."""
    names = bin_labels(n_bins)
    if not counts:
        return names
    # equal values make bins that differ a little between measures
    ends = zip(names, np.min(counts, 0), np.max(counts, 0), strict=True)
    return [f"{name}\nn {'≥' if high > low else '='} {low:,}" for name, low, high in ends]


def _n_told(tables: Mapping[str, xr.Dataset]) -> str:
    """How many stimuli entered, where results say it and agree."""
    n = {int(table["n_stimuli_of_mean"]) for table in tables.values() if BESIDE[1] in table}
    return f", {n.pop():,} stimuli" if len(n) == 1 else ""


BESIDE = ("n_effective_of_mean", "n_stimuli_of_mean")
"""What is told of the whole, where a result has it."""


def _tables(effects: object, measure: str | None) -> dict[str, xr.Dataset]:
    """Results of one dispersion each, by their label."""
    given: Mapping[str, Any]
    if isinstance(effects, Mapping) and not isinstance(effects, xr.Dataset | xr.DataTree):
        if not effects:
            raise ValueError("effects is empty: give {'label': effect}")
        if measure is not None:
            raise TypeError("measure chooses from a group of a study, and effects is a dict")
        given = {str(label): effect for label, effect in effects.items()}
        what = {label: f"effects[{label!r}]" for label in given}
    else:
        effects = group_of(effects, "modulation")
        if not isinstance(effects, xr.Dataset | xr.DataTree):
            raise TypeError(
                "effects must be what xconverge.modulation(…) returns, a dict of label to it, or "
                f"the group 'modulation' of a study; got {came(effects)}"
            )
        table = check_table(effects, "alignment_by_bin_of_mean", what="effects", made=MADE)
        table = control_of(table)
        if measure is not None and "measure" not in table.dims:
            raise ValueError(f"measure={measure!r} chooses from several, and effects is of one")
        if "measure" in table.dims:
            from xconverge.labels.messages import choose

            there = [str(name) for name in table["measure"].values]
            chosen = there if measure is None else [choose("measure", measure, there)]
            given = {name: table.sel(measure=name) for name in chosen}
        else:
            given = {str(table.attrs.get("dispersion_metric", "dispersion")): table}
        what = dict.fromkeys(given, "effects")
    found = {}
    for label, effect in given.items():
        table = check_table(
            effect, "alignment_by_bin_of_mean", "correlation_of_mean", what=what[label], made=MADE
        )
        alone(
            table["alignment_by_bin_of_mean"], ["bin"], f"alignment_by_bin_of_mean of {what[label]}"
        )
        alone(table["correlation_of_mean"], [], f"correlation_of_mean of {what[label]}")
        drawn = ["alignment_by_bin_of_mean", "correlation_of_mean"]
        drawn += [name for name in BESIDE if name in table and not table[name].dims]
        found[label] = table[drawn].assign(_chance=chance_of(table)).compute()
    return found


def _intervals(
    table: xr.Dataset, label: str, n_tables: int, dispersion: Any, alignment: Any, level: float
) -> tuple[Any, Any]:
    """Stimuli in each bin, and half the interval of their mean alignment; NaN where unknown."""
    from scipy.stats import t

    spreads = dispersions_of(dispersion, "dispersion")
    if "measure" not in spreads.dims and n_tables > 1:
        raise ValueError(
            f"dispersion is of one result, and there are {n_tables}; give the whole study, or one "
            "result"
        )
    one = label if "measure" in spreads.dims else None
    spread = dispersion_of(dispersion, one, "dispersion")
    mean = over_pairs(scores_of(alignment, "alignment", "stimulus"))
    alone(mean, ["stimulus"], "alignment")
    spread, mean, _ = join_labels(spread, mean, "stimulus", "exact", ("dispersion", "alignment"))
    n_bins = table.sizes["bin"]
    bins, _ = quantile_bins(spread.values.astype(float), n_bins)
    values = mean.values.astype(float)
    counts = np.array([(np.isfinite(values) & (bins == i)).sum() for i in range(n_bins)])
    everything = counts.sum()
    worth = float(table.get("n_effective_of_mean", xr.DataArray(np.nan)))
    share = min(worth / everything, 1.0) if np.isfinite(worth) and everything else 1.0
    reach = np.full(n_bins, np.nan)
    for number in range(n_bins):
        inside = values[(bins == number) & np.isfinite(values)]
        size = len(inside) * share
        if len(inside) > 1 and size >= 2:
            reach[number] = t.ppf((1 + level) / 2, size - 1) * inside.std(ddof=1) / np.sqrt(size)
    return counts, reach
