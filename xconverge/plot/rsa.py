"""RSA in each bin of dispersion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.plot.axes import (
    BAND,
    COLORS,
    FAINT,
    FEW_LINES,
    INK,
    SMALL,
    axes_of,
    bare,
    legend,
    name_lines,
    p_text,
    readable,
    style,
    there,
)
from xconverge.plot.inputs import alone, table_of
from xconverge.study.bins import bin_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
