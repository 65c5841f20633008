"""Figures with matplotlib, which is imported at the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.inference.latency import extremes, scored_over_time, times_of
from xconverge.labels.arguments import real, text
from xconverge.labels.checks import check_scores, check_table
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.study.bins import bin_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#6b4e9b", "#555555")
INK = "#333333"
SHADED = ("of permutations", "interval")
"""What legends call areas behind lines."""


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        if not hasattr(ax, "plot"):
            raise TypeError(
                f"ax must be one Axes of matplotlib, got {came(ax)}; choose one of them"
            )
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'xconverge[plot]'") from error
    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def _table(given: object, what: str, made: str, **dims: list[str] | None) -> xr.Dataset:
    """A Dataset with these variables, of these dims and no others (None: any)."""
    table = check_table(given, *dims, what=what, made=made)
    for name, own in dims.items():
        if own is not None:
            _alone(table[name], own, f"{name} of {what}")
    return table


def _alone(array: xr.DataArray, dims: list[str], what: str) -> None:
    extra = [str(dim) for dim in array.dims if dim not in dims]
    if extra:
        raise SchemaError(
            f"{what} has the dims {extra} too, and one figure shows one of them: choose with "
            f".sel({extra[0]}=…)"
        )
    lacking = [dim for dim in dims if dim not in array.dims]
    if lacking:
        raise SchemaError(f"{what} lacks the dims {lacking}, it has {list(map(str, array.dims))}")


LONGEST = 40
"""Characters of a label that a figure has room for."""


def _text(label: object) -> str:
    """A label as it is, not as a formula; of a long one the beginning and the end."""
    text = str(label)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 + 1 :]}"
    return text.replace("$", r"\$")


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK)


def alignment_by_bin(
    effects: Mapping[str, xr.Dataset], chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """Mean alignment in each dispersion bin, a line for each set of results.

    Parameters
    ----------
    effects : mapping of label to Dataset
        What ``modulation`` returned.
    chance : float, optional
        Alignment of unrelated models, drawn as a dashed line.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

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
    if not isinstance(effects, Mapping) or isinstance(effects, xr.Dataset | xr.DataTree):
        raise TypeError(
            "effects must be a dict of label to what xconverge.modulation(…) returns, got "
            f"{came(effects)}; give {{'label': effect}}"
        )
    if not effects:
        raise ValueError("effects is empty: give {'label': effect}")
    effects = {
        label: _table(
            effect, f"effects[{label!r}]", "modulation(…)",
            alignment_by_bin_of_mean=["bin"], correlation_of_mean=[],
        )
        for label, effect in effects.items()
    }  # fmt: skip
    if chance is not None:
        real("chance", chance)
    ax = _axes(ax, (5.6, 4.0))
    for (label, effect), color in zip(effects.items(), _colors(len(effects)), strict=True):
        means = effect["alignment_by_bin_of_mean"]
        rho = float(effect["correlation_of_mean"])
        # bins that equal values have merged away are NaN: the line goes on past them
        ax.plot(
            *_there(means["bin"].values, means.values),
            "o-",
            color=color,
            label=f"{_text(label)} (Spearman {rho:+.2f})",
        )
    if chance is not None:
        ax.axhline(chance, color=INK, lw=1, ls="--")
        ax.annotate("chance", (0, chance), xytext=(0, 3), textcoords="offset points", color=INK)
    ax.set(xlabel="dispersion bin (low to high)", ylabel="mean alignment", ylim=(0, None))
    ax.set_xticks(means["bin"].values, bin_labels(means.sizes["bin"]))
    ax.legend(frameon=False)
    _plain(ax)
    return ax


def _there(place: Any, values: Any) -> tuple[Any, Any]:
    """Places and values where there is a value."""
    there = np.isfinite(values)
    return np.asarray(place)[there], values[there]


def _colors(n: int) -> Sequence[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]


def alignment_matrix(scores: xr.DataArray, ax: Axes | None = None) -> Axes:
    """Mean alignment of every model pair, as a table in colours.

    Parameters
    ----------
    scores : DataArray
        (model_a, model_b[, stimulus]), from ``alignment``.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import xarray as xr
    >>> scores = xr.DataArray([[0.2]], dims=("model_a", "model_b"),
    ...     coords={"model_a": ["vit"], "model_b": ["bert"]})
    >>> [text.get_text() for text in alignment_matrix(scores).texts]
    ['0.20']
    """
    check_scores(scores, "model_a", "model_b", what="scores")
    if "stimulus" in scores.dims:
        scores = scores.mean("stimulus", keep_attrs=True)
    _alone(scores, ["model_a", "model_b"], "scores")
    scores = scores.transpose("model_a", "model_b")
    rows, columns = scores.shape
    ax = _axes(ax, (1.6 + 0.95 * columns, 1.6 + 0.42 * rows))
    values = scores.values
    image = ax.imshow(values, cmap="Blues", vmin=0, aspect="auto")
    middle = np.nanmax(values) / 2
    for (i, j), value in np.ndenumerate(values):
        color = "white" if value > middle else INK
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
    ax.set_xticks(
        range(columns), [_text(name) for name in scores["model_b"].values], rotation=30, ha="right"
    )
    ax.set_yticks(range(rows), [_text(name) for name in scores["model_a"].values])
    name = f"mean {str(scores.attrs.get('metric', 'alignment')).replace('_', ' ')}"
    ax.figure.colorbar(image, ax=ax, label=name)
    ax.spines[:].set_visible(False)
    return ax


def rsa_by_bin(result: xr.Dataset, ax: Axes | None = None) -> Axes:
    """RSA in each dispersion bin: every model as a thin line, the mean RDM as a thick one.

    Parameters
    ----------
    result : Dataset
        The group ``rsa`` of ``analyze``.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

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
    result = _table(
        result, "result", "analyze(…)['rsa']",
        rsa_by_bin=None, rsa_of_mean_by_bin=["bin"], p_value_of_mean_by_bin=["bin"],
        n_stimuli=["bin"],
    )  # fmt: skip
    ax = _axes(ax, (5.6, 4.0))
    place = result["bin"].values
    each = result["rsa_by_bin"]
    each = each.mean([dim for dim in each.dims if dim not in ("bin", "model_a")])
    for number, name in enumerate(each["model_a"].values):
        label = "single models" if number == 0 else None
        line = _there(place, each.sel(model_a=name).values)
        ax.plot(*line, "-", color="#b8c4ce", lw=1, label=label)
    mean = result["rsa_of_mean_by_bin"]
    ax.plot(
        *_there(place, mean.values), "o-", color=COLORS[0], lw=2.2, label="mean RDM of the models"
    )
    for x, y, p in zip(place, mean.values, result["p_value_of_mean_by_bin"].values, strict=True):
        if np.isfinite(p):
            ax.annotate(
                f"p = {p:.3f}", (x, y), xytext=(6, 6), textcoords="offset points", color=INK
            )
    return _over_bins(ax, place, result["n_stimuli"].values)


def _over_bins(ax: Axes, place: np.ndarray, counts: np.ndarray) -> Axes:
    """The axes of RSA by dispersion bin, the bins at ``place`` with so many stimuli."""
    ax.axhline(0, color=INK, lw=0.8)
    names = zip(bin_labels(len(place)), counts, strict=True)
    ax.set_xticks(place, [f"{name}\n({n} stimuli)" for name, n in names])
    ax.set(xlabel="dispersion bin (low to high)", ylabel="RSA with the target")
    ax.margins(x=0.12)
    ax.legend(frameon=False)
    _plain(ax)
    return ax


def stimuli(
    images: Mapping[str, Any], rows: Mapping[str, Sequence[str]], title: str = ""
) -> Figure:
    """Pictures of stimuli, a row for each set of labels.

    Parameters
    ----------
    images : mapping of label to array
        (height, width[, channel]) of each stimulus.
    rows : mapping of text to labels
        What to show beside each row, and its stimuli.
    title : str
        Over the figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import numpy as np
    >>> figure = stimuli({"cat": np.zeros((4, 4, 3))}, {"low": ["cat"]})
    >>> len(figure.axes)
    1
    """
    for name, given in (("images", images), ("rows", rows)):
        if not isinstance(given, Mapping) or not given:
            raise TypeError(f"{name} must be a dict that is not empty, got {came(given)}")
    text("title", title or "none")
    lacking = [label for labels in rows.values() for label in labels if label not in images]
    if lacking:
        raise ValueError(f"images has no picture of {listing(lacking)}, which rows names")
    columns = max(len(labels) for labels in rows.values())
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(
        len(rows),
        columns,
        figsize=(0.7 * columns + 1.4, 0.75 * len(rows) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for line, (words, labels) in zip(grid, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, label in zip(line, labels, strict=False):
            ax.imshow(images[label])
        line[0].text(
            -0.25,
            0.5,
            _text(words),
            ha="right",
            va="center",
            transform=line[0].transAxes,
            color=INK,
        )
    figure.suptitle(title)
    return figure


def models_by_subset(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """RSA of every model with its interval, over all stimuli and in each bin of dispersion.

    Parameters
    ----------
    table : Dataset
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
    table = _table(table, "table", "select_models(…)", **dict.fromkeys(needed, both))
    score, *ends, lowest, highest, among = (
        table[name].transpose("model", "subset").values for name in needed
    )
    order = np.argsort(np.nan_to_num(score[:, 0], nan=-np.inf))
    place = np.arange(len(order))
    names = [str(name) for name in table["subset"].values]
    ax = _axes(ax, (2.0 + 2.2 * len(names), 1.4 + 0.32 * len(order)))
    drawn = [*score.ravel(), *ends[0].ravel(), *ends[1].ravel(), *highest.ravel(), 0.0]
    left, right = np.nanmin(drawn) - 0.04, np.nanmax(drawn) + 0.04
    for number, (name, color) in enumerate(zip(names, _colors(len(names)), strict=True)):
        shift = number * (right - left)
        column = shift + np.column_stack([part[order, number] for part in (score, *ends)])
        band = shift + np.column_stack([lowest[order, number], highest[order, number]])
        if not np.isnan(band).all():
            ax.fill_betweenx(place, *band.T, color="#e3e3e3", lw=0)
        ax.hlines(place, column[:, 1], column[:, 2], color=color, lw=2)
        filled = among[order, number]
        ax.plot(column[filled, 0], place[filled], "o", color=color)
        ax.plot(column[~filled, 0], place[~filled], "o", color=color, mfc="white")
        ax.axvline(shift, color=INK, lw=1, ls=":")
        ax.annotate(name, (shift + (left + right) / 2, len(order) - 0.35), ha="center", color=INK)
    ticks = [0.0, *([0.5] if right > 0.6 else [])]
    ax.set_xticks(
        [tick + number * (right - left) for number in range(len(names)) for tick in ticks],
        [f"{tick:g}" for _ in names for tick in ticks],
    )
    ax.set_yticks(place, [_text(name) for name in table["model"].values[order]])
    ax.set(
        xlabel="RSA (all stimuli, then bins from low to high dispersion)",
        xlim=(left, left + len(names) * (right - left)),
        ylim=(-0.6, len(order)),
    )
    _plain(ax)
    return ax


def time_course(
    result: xr.Dataset,
    score: str | None = None,
    *,
    correction: str = "cluster",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """A score against time: a line for each model, and below it a bar where it is significant.

    Parameters
    ----------
    result : Dataset
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
    score, values, p_value = scored_over_time(result, score, correction, "result")
    seconds = times_of(values)
    values = values.squeeze(drop=True) if values.sizes["time"] > 1 else values
    others = [str(dim) for dim in values.dims if dim != "time"]
    _alone(values, ["time", *others[:1]], f"{score} of result")
    lines = _rows(values, others)
    found = _rows(p_value.squeeze(drop=True) <= alpha, others)
    far = _rows(extremes(values, result), others)
    names = (
        [_text(name) for name in values[others[0]].values] if others else [score.replace("_", " ")]
    )
    ax = _axes(ax, (6.4, 3.8))
    middle = _null_band(ax, result, score, seconds)
    ax.axhline(middle, color=INK, lw=0.8)
    edges = _edges(seconds)
    for number, (name, line, inside, color) in enumerate(
        zip(names, lines, found, _colors(len(lines)), strict=True)
    ):
        ax.plot(seconds, line, color=color, lw=1.8, label=name)
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
            ax.plot(seconds[peak], line[peak], "o", color=color, ms=6)
        height = -0.035 * (number + 1)
        for first, last in _runs(inside):
            ax.plot(
                [edges[first], edges[last + 1]], [height, height], color=color, lw=3.5,
                transform=ax.get_xaxis_transform(), solid_capstyle="butt", clip_on=False,
            )  # fmt: skip
    # the axis lies below the bars
    ax.spines["bottom"].set_position(("axes", -0.035 * (len(lines) + 1)))
    ax.set(xlabel="time", ylabel=_score_name(values, score))
    ax.set_xlim(edges[0], edges[-1])
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        # lines first, then what is shaded
        order = sorted(range(len(labels)), key=lambda i: labels[i].endswith(SHADED))
        ax.legend(
            [handles[i] for i in order], [labels[i] for i in order],
            frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5),
        )  # fmt: skip
    _plain(ax)
    return ax


def cross_temporal(
    result: xr.Dataset, *, correction: str = "cluster", alpha: float = 0.05, ax: Axes | None = None
) -> Axes:
    """RSA of every time with every other, outlined where it is significant.

    Parameters
    ----------
    result : Dataset
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
    result = _table(result, "result", "cross_temporal_rsa(…)", rsa=None)
    _, values, p_value = (
        scored_over_time(result, "rsa", correction, "result")
        if "p_value" in result
        else ("rsa", result["rsa"], None)
    )
    plane = ["time", "time_2"]
    values = _plane(values)
    _alone(values, plane, "rsa of result")
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    y, x = (_edges(times_of(values, dim)) for dim in plane)
    numbers = values.transpose(*plane).values
    most = max(float(np.nanmax(np.abs(numbers), initial=0.0)), 1e-12)
    ax = _axes(ax, (5.4, 4.4))
    image = ax.pcolormesh(
        x, y, numbers, cmap=colormaps["RdBu_r"].with_extremes(bad="#c9c9c9"), vmin=-most, vmax=most
    )
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
    ax.figure.colorbar(image, ax=ax, label=_score_name(values, "rsa"))
    _plain(ax)
    return ax


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
    ax.fill_between(seconds, *kept, color="#dddddd", lw=0, label=label, zorder=0)
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
        return _text(values.attrs.get("metric", score)).replace("_", " ")
    return "correlation of dispersion with alignment"


def binned_rsa(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """RSA by dispersion bin, as it is and without measurement noise, with the ceiling of noise.

    Parameters
    ----------
    table : Dataset
        From ``binned_rsa``, of one pair: (bin). Of trials, with ``rsa_corrected`` and its interval,
        and ``ceiling``; without them RSA alone is drawn.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import xarray as xr
    >>> table = xr.Dataset({"rsa": ("bin", [0.5, 0.1]), "n_stimuli": ("bin", [30, 30])})
    >>> len(binned_rsa(table.assign_coords(bin=[0, 1])).lines)
    2
    """
    table = _table(table, "table", "binned_rsa(…)", rsa=["bin"], n_stimuli=["bin"])
    ax = _axes(ax, (5.6, 4.0))
    place = np.arange(table.sizes["bin"])
    if "ceiling" in table:
        _alone(table["ceiling"], ["bin"], "ceiling of table")
        ax.plot(
            *_there(place, table["ceiling"].values), "--", color=INK, lw=1.2,
            label="ceiling: a true model, as noisy",
        )  # fmt: skip
    ax.plot(*_there(place - 0.05, table["rsa"].values), "o-", color=COLORS[0], lw=2.0, label="RSA")
    if "rsa_corrected" in table:
        ends = [table[f"rsa_corrected_{end}"].values for end in ("lower", "upper")]
        value = table["rsa_corrected"].values
        told = np.isfinite(value)
        reach = np.abs(np.array(ends)[:, told] - value[told])
        ax.errorbar(
            place[told] + 0.05, value[told], reach, fmt="s-", color=COLORS[1], lw=2.0, capsize=3,
            label="RSA without measurement noise",
        )  # fmt: skip
        for x in place[~told]:
            ax.annotate("not told", (x + 0.05, 0), xytext=(0, 6), textcoords="offset points",
                        ha="center", color=COLORS[1])  # fmt: skip
    return _over_bins(ax, place, table["n_stimuli"].values)
