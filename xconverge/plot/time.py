"""Scores over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.inference.latency import extremes, scored_over_time, times_of
from xconverge.labels.arguments import real
from xconverge.plot.axes import (
    BAND,
    INK,
    SMALL,
    axes_of,
    bare,
    color_bar,
    color_map,
    readable,
    style,
)
from xconverge.plot.inputs import alone, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADED = ("of permutations", "interval")
"""What legends call areas behind lines."""
BELOW = 0.035
"""How far apart bars lie below the axes, as a share of their height."""


def time_course(
    result: xr.Dataset | xr.DataTree,
    score: str | None = None,
    *,
    correction: str = "cluster",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """A score against time: a line for each model, and below it a bar where it is significant.

    Parameters
    ----------
    result : Dataset or DataTree
        Over ``time`` and one more dim at most: what ``calibrate_rsa``, ``calibrate`` or
        ``modulation`` returned.
    score : str, optional
        Which of its variables, as in ``latency``.
    correction : {"cluster", "max_t", "bh", "by"}
        Which corrected p-values the bars are of.
    alpha : float
        At which rate.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Shaded in grey is what permutations reach in single bins (from chance to ``threshold``), in
        the colour of the line the interval of a mean correlation. A point is the peak.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import calibrate_rsa, rdm
    >>> from xconverge.testing import planted_recording
    >>> study = planted_recording(n_stimuli=24, n_times=11, rng=0)
    >>> brain = rdm(study["brain"].mean("repetition", keep_attrs=True))
    >>> table = calibrate_rsa(rdm(study["early"]), brain, n_permutations=199, rng=0)
    >>> ax = time_course(table)
    >>> ax.get_ylabel(), [text.get_text() for text in ax.get_legend().get_texts()][:2]
    ('RSA', ['early 0', 'early 1'])
    """
    real("alpha", alpha, above=0, below=1)
    result = table_of(result, "", "result", "calibrate_rsa(…) or modulation(…)")
    score, values, p_value = scored_over_time(result, score, correction, "result")
    seconds = times_of(values)
    values = values.squeeze(drop=True) if values.sizes["time"] > 1 else values
    others = [str(dim) for dim in values.dims if dim != "time"]
    alone(values, ["time", *others[:1]], f"{score} of result")
    lines = _rows(values, others)
    found = _rows(p_value.squeeze(drop=True) <= alpha, others)
    far = _rows(extremes(values, result), others)
    names = (
        [readable(name) for name in values[others[0]].values]
        if others
        else [score.replace("_", " ")]
    )
    ax = axes_of(ax, (6.4, 3.8))
    middle = _null_band(ax, result, score, seconds)
    ax.axhline(middle, color=INK, lw=0.8)
    edges = _edges(seconds)
    for number, (name, line, inside) in enumerate(zip(names, lines, found, strict=True)):
        look = style(number)
        color = look["color"]
        ax.plot(seconds, line, color=color, ls=look["ls"], lw=1.8, label=name)
        if not others and f"{score}_lower" in result:
            low, high = (
                result[f"{score}_{end}"].squeeze(drop=True).values for end in ("lower", "upper")
            )
            ax.fill_between(
                seconds, low, high, color=color, alpha=0.18, lw=0,
                label=f"{result.attrs.get('level', 0.95):.0%} {SHADED[1]}",
            )  # fmt: skip
        if inside.any():
            peak = int(np.where(inside, far[number], -np.inf).argmax())
            ax.plot(seconds[peak], line[peak], look["marker"], color=color, ms=7, mec="white")
        for first, last in _runs(inside):
            ax.plot(
                [edges[first], edges[last + 1]], [-BELOW * (number + 1)] * 2, color=color, lw=3.5,
                transform=ax.get_xaxis_transform(), ls=look["ls"], solid_capstyle="butt",
                dash_capstyle="butt", clip_on=False,
            )  # fmt: skip
    # the axis lies below the bars
    ax.spines["bottom"].set_position(("axes", -BELOW * (len(lines) + 1)))
    ax.set(xlabel="time", ylabel=_score_name(values, score))
    ax.set_xlim(edges[0], edges[-1])
    _lines_first(ax)
    return bare(ax)


def _lines_first(ax: Axes) -> None:
    """A legend beside the axes: lines, then what is shaded."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        order = sorted(range(len(labels)), key=lambda i: labels[i].endswith(SHADED))
        ax.legend(
            [handles[i] for i in order], [labels[i] for i in order],
            frameon=False, fontsize=SMALL + 0.5, loc="center left", bbox_to_anchor=(1.0, 0.5),
        )  # fmt: skip


def cross_temporal(
    result: xr.Dataset | xr.DataTree,
    *,
    correction: str = "cluster",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """RSA of every time with every other, outlined where it is significant.

    Parameters
    ----------
    result : Dataset or DataTree
        What ``cross_temporal_rsa`` returned, for one pair of models.
    correction : {"cluster", "max_t", "bh", "by"}
        Which corrected p-values are outlined; nothing is where there are none.
    alpha : float
        At which rate.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Times of ``rdm_a`` upwards, those of ``rdm_b`` to the right; grey is what has no score.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import cross_temporal_rsa, rdm
    >>> from xconverge.testing import planted_recording
    >>> trials = planted_recording(n_stimuli=20, n_times=8, rng=0)["brain"]
    >>> odd, even = (rdm(trials.isel(repetition=slice(i, None, 2)).mean("repetition",
    ...     keep_attrs=True)) for i in (0, 1))
    >>> cross_temporal(cross_temporal_rsa(odd, even, n_permutations=199, rng=0)).get_xlabel()
    'time of rdm_b'
    """
    real("alpha", alpha, above=0, below=1)
    result = table_of(result, "", "result", "cross_temporal_rsa(…)", rsa=None)
    _, values, p_value = (
        scored_over_time(result, "rsa", correction, "result")
        if "p_value" in result
        else ("rsa", result["rsa"], None)
    )
    plane = ["time", "time_2"]
    values = _plane(values)
    alone(values, plane, "rsa of result")
    from matplotlib.collections import LineCollection

    y, x = (_edges(times_of(values, dim)) for dim in plane)
    numbers = values.transpose(*plane).values
    most = max(float(np.nanmax(np.abs(numbers), initial=0.0)), 1e-12)
    ax = axes_of(ax, (5.4, 4.4))
    image = ax.pcolormesh(x, y, numbers, cmap=color_map("PuOr_r"), vmin=-most, vmax=most)
    if p_value is not None:
        inside = (_plane(p_value) <= alpha).transpose(*plane).values
        ax.add_collection(LineCollection(_borders(inside, x, y), colors="black", linewidths=1.4))
    if x.dtype == y.dtype:
        low, high = max(x.min(), y.min()), min(x.max(), y.max())
        if low < high:
            ax.plot([low, high], [low, high], color=INK, lw=0.8, ls="--")
    ax.set(
        xlabel="time of rdm_b",
        ylabel="time of rdm_a",
        xlim=(x[0], x[-1]),
        ylim=(y[0], y[-1]),
    )
    color_bar(ax, image, _score_name(values, "rsa"))
    return bare(ax)


def _plane(values: xr.DataArray) -> xr.DataArray:
    """Without the dims of one label that are no times."""
    lone = [d for d in values.dims if values.sizes[d] == 1 and d not in ("time", "time_2")]
    return values.squeeze(lone, drop=True)


def _rows(values: xr.DataArray, others: Sequence[str]) -> Any:
    """Values (line, time), of one line where there is no other dim."""
    return np.atleast_2d(values.transpose(*others, "time").values)


def _null_band(ax: Axes, result: xr.Dataset, score: str, seconds: Any) -> float:
    """Shade what permutations reach in a bin, of all lines together; the level of no effect."""
    if score not in ("rsa", "alignment") or not {"chance", "threshold"} <= {*result.data_vars}:
        return 0.0
    chance, threshold = (
        result[name].transpose(..., "time").values.reshape(-1, len(seconds))
        for name in ("chance", "threshold")
    )
    alpha = result.attrs.get("alpha", 0.05)
    kept = [np.nanmean(chance, 0), np.nanmax(threshold, 0)]
    if np.nanmean(threshold) < np.nanmean(chance):  # a distance is small where it is alike
        kept[1] = np.nanmin(threshold, 0)
    label = f"{1 - alpha:.0%} {SHADED[0]}"
    ax.fill_between(seconds, *kept, color=BAND, lw=0, label=label, zorder=0)
    return float(np.nanmean(chance))


def _edges(labels: Any) -> Any:
    """Edges of bins (T + 1) around these times, half way to their neighbours."""
    if labels.dtype.kind in "iu":
        labels = labels.astype(np.float64)
    if len(labels) == 1:
        half = np.timedelta64(12, "h") if labels.dtype.kind in "mM" else 0.5
        return np.array([labels[0] - half, labels[0] + half])
    half = np.diff(labels) / 2
    return np.concatenate([labels[:1] - half[:1], labels[:-1] + half, labels[-1:] + half[-1:]])


def _runs(inside: Any) -> Any:
    """First and last (n, 2) of every run of True."""
    turns = np.diff(np.concatenate([[0], np.asarray(inside, np.int8), [0]]))
    return np.column_stack([np.flatnonzero(turns == 1), np.flatnonzero(turns == -1) - 1])


def _borders(inside: Any, x: Any, y: Any) -> list[list[tuple[Any, Any]]]:
    """Segments between bins (T, U) that are inside and those that are not."""
    framed = np.pad(np.asarray(inside, np.int8), 1)
    across, upwards = (np.diff(framed, axis=axis) != 0 for axis in (1, 0))
    return [
        *([(x[j], y[i - 1]), (x[j], y[i])] for i, j in np.argwhere(across)),
        *([(x[j - 1], y[i]), (x[j], y[i])] for i, j in np.argwhere(upwards)),
    ]


def _score_name(values: xr.DataArray, score: str) -> str:
    if score == "rsa":
        return "RSA"
    if score == "alignment":
        return readable(values.attrs.get("metric", score)).replace("_", " ")
    return "correlation of dispersion with alignment"
