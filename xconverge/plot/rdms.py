"""RDMs, their stimuli in some order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xconverge.labels.checks import check_dims, check_labels
from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing
from xconverge.plot.axes import (
    INK,
    SEQUENTIAL,
    SMALL,
    axes_of,
    color_bar,
    color_map,
    count,
    limits,
    readable,
    runs,
)
from xconverge.plot.inputs import alone, per_stimulus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 24
"""Groups of an RDM that have a name beside it."""
MOST = 1000
"""Rows of an RDM that a figure has pixels for."""


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
    n = len(labels)
    # distances of a stimulus from itself are 0, and would take half of the colours
    off = shown[~np.eye(len(shown), dtype=bool)] if len(shown) == n else shown
    low, high = limits(off)
    image = ax.imshow(
        shown, cmap=color_map(SEQUENTIAL), vmin=low, vmax=high,
        extent=(-0.5, n - 0.5, n - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    # as high as the matrix, whatever room there is
    color_bar(ax, image, _distance(square), cax=ax.inset_axes((1.04, 0.0, 0.045, 1.0)))
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
