"""The shared space: its consensus as a map, and how its fit converged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.labels.arguments import whole
from xconverge.labels.joins import join_labels
from xconverge.measures.dispersion import dispersion as dispersion_measure
from xconverge.plot.axes import (
    SEQUENTIAL,
    axes_of,
    bare,
    color_bar,
    legend,
    limits,
    readable,
    style,
    titled,
)
from xconverge.plot.inputs import alone, dispersion_of, measure_name, names_of, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MADE = "shared_space(…) or analyze(…)['shared_space']"


def consensus_map(
    space: xr.Dataset | xr.DataTree,
    dispersion: xr.DataArray | xr.Dataset | xr.DataTree | None = None,
    *,
    measure: str | None = None,
    n_named: int = 12,
    names: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The consensus of the models on its first two principal components, coloured by dispersion.

    Parameters
    ----------
    space : Dataset or DataTree
        What ``shared_space`` returned, the group ``shared_space`` of a study, or the whole study.
    dispersion : DataArray, Dataset or DataTree, optional
        Dispersion (stimulus), or a group ``dispersion`` of a study. By default that of the study,
        or else the normalised distance to the consensus in this space.
    measure : str, optional
        Which dispersion of a study; ``neighborhood`` by default.
    n_named : int
        Stimuli that are named: spread over the map, each as far as may be from those before it. A
        name that finds no free place is left out.
    names : str, optional
        A stimulus coordinate whose values are written in place of labels.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Points are larger, and lighter, where dispersion is higher; stimuli without a dispersion are
        grey crosses. Axes say their share of the variance of the consensus over stimuli.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import shared_space
    >>> from xconverge.testing import planted_study
    >>> space = shared_space(planted_study(rng=0)["vision"], n_components=6)
    >>> consensus_map(space).get_xlabel()
    'first component (23 % of variance)'
    """
    whole("n_named", n_named, 0)
    table = table_of(space, "shared_space", "space", MADE, consensus=["stimulus", "component"])
    consensus = table["consensus"].transpose("stimulus", "component").compute()
    if dispersion is None and isinstance(space, xr.DataTree) and "dispersion" in space.children:
        dispersion = space
    if dispersion is None:
        table = table_of(space, "shared_space", "space", MADE, aligned=None)
        spread = dispersion_measure(table["aligned"], "consensus", normalize=True)
        spread = spread.compute().assign_coords(measure="consensus")
    else:
        spread = dispersion_of(dispersion, measure, "dispersion")
    consensus, spread, _ = join_labels(
        consensus, spread, "stimulus", "exact", ("space", "dispersion")
    )
    rows = consensus.values.astype(float)
    seen = np.isfinite(rows).all(1)
    points, shares = _components(rows[seen])
    values = spread.values.astype(float)[seen]
    ax = axes_of(ax, (5.6, 4.4))
    known = np.isfinite(values)
    ax.plot(*points[~known].T, "x", color="#999999", ms=4, label="without dispersion")
    n = max(int(known.sum()), 1)
    size = float(np.clip(6000 / n, 5, 36))
    low, high = limits(values)
    relative = (values[known] - low) / (high - low)
    image = ax.scatter(
        points[known, 0], points[known, 1], c=values[known], s=size * (0.4 + 1.2 * relative),
        cmap=SEQUENTIAL, lw=0.3, edgecolor="#555555", vmin=low,
        vmax=high, rasterized=n > 2000,
    )  # fmt: skip
    color_bar(ax, image, measure_name(spread))
    for name, axis, share in zip(("first", "second"), (ax.xaxis, ax.yaxis), shares, strict=True):
        axis.set_label_text(f"{name} component ({100 * share:.0f} % of variance)", fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.margins(0.06)
    if not known.all():
        legend(ax)
    which = _far_apart(points, min(n_named, len(points)))
    if which:
        from xconverge.plot.placing import PointNames

        texts = np.array(names_of(consensus, names), dtype=object)[seen]
        PointNames(ax, points, which, [readable(texts[i], 24) for i in which])
    return bare(ax)


def _components(rows: Any) -> tuple[Any, Any]:
    """Rows (n, d) on their first two principal components (n, 2), and the share of each."""
    centred = rows - rows.mean(0) if len(rows) else rows
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    n = min(2, len(sizes))
    # a direction has no sign of its own: its largest coordinate is positive
    signs = np.sign(right[np.arange(n), np.abs(right[:n]).argmax(1)]) if n else np.ones(0)
    points, shares = np.zeros((len(rows), 2)), np.zeros(2)
    points[:, :n] = left[:, :n] * sizes[:n] * signs
    total = (sizes**2).sum()
    shares[:n] = sizes[:n] ** 2 / total if total > 0 else 0.0
    return points, shares


def _far_apart(points: Any, n: int) -> list[int]:
    """Positions of n points, the first the farthest from the middle, each far from those before."""
    if n < 1:
        return []
    far = ((points - points.mean(0)) ** 2).sum(1)
    chosen = [int(far.argmax())]
    far = np.full(len(points), np.inf)
    while len(chosen) < n:
        far = np.minimum(far, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(far.argmax()))
    return list(dict.fromkeys(chosen))


def convergence(space: xr.Dataset | xr.DataTree, *, ax: Axes | None = None) -> Axes:
    """How the objective of the generalised Procrustes fit fell, iteration by iteration.

    Parameters
    ----------
    space : Dataset or DataTree
        What ``shared_space`` returned, the group ``shared_space`` of a study, or the whole study.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The sum of squared distances from the consensus, of the fit to all stimuli and the best of
        its starts; a line for each space, where they were fitted ``by`` a coordinate. The title
        says which share of the models' sum of squares is left unexplained, and what it is for
        unrelated models.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> from xconverge import shared_space
    >>> from xconverge.testing import planted_study
    >>> convergence(shared_space(planted_study(rng=0)["vision"])).get_xlabel()
    'iteration'
    """
    table = table_of(space, "shared_space", "space", MADE, objective=None, unexplained=None)
    objective = table["objective"].compute()
    groups = [str(dim) for dim in objective.dims if dim != "iteration"]
    alone(objective, ["iteration", *groups[:1]], "objective of space")
    ax = axes_of(ax, (5.6, 3.4))
    from matplotlib.ticker import MaxNLocator

    lines = np.atleast_2d(objective.transpose(*groups, "iteration").values)
    labels = table[groups[0]].values if groups else [""]
    for number, (label, values) in enumerate(zip(labels, lines, strict=True)):
        known = values[np.isfinite(values)]
        look = style(number)
        ax.plot(
            np.arange(1, len(known) + 1), known, lw=1.6, ms=4,
            markevery=max(1, len(known) // 12), label=readable(label) if groups else None, **look,
        )  # fmt: skip
    ax.set(xlabel="iteration", ylabel="sum of squared distances\nfrom the consensus")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if lines.shape[1] < 3:
        ax.set_xlim(0.5, 2.5)
    ax.ticklabel_format(axis="y", useOffset=False)
    titled(ax, *_left(table))
    legend(ax)
    return bare(ax)


def _left(table: xr.Dataset) -> list[str]:
    """What is left unexplained, in words."""
    found = []
    for name, words in (("unexplained", "unexplained"), ("unexplained_heldout", "held out")):
        value = table.get(name)
        if value is None or value.dims:
            continue
        chance = value.attrs.get("chance")
        beside = f" (unrelated models: {float(chance):.3f})" if chance is not None else ""
        found.append(f"{words}: {float(value):.3f}{beside}")
    last = ""
    objective = table["objective"]
    if objective.ndim == 1 and objective.size > 1:
        before, after = objective.values[-2:]
        fall = f"{(before - after) / before:.1e}".replace("-", "−") if before > 0 else "0"
        last = f"the last iteration lowered it by {fall} of itself"
    return ["; ".join(found), last]
