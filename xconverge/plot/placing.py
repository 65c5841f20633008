"""Names that move out of each other's way whenever the figure is drawn, at any size.

Imported at the first figure that names something, for it imports matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform

from xconverge.plot.axes import INK, SMALL

ANGLES = np.deg2rad(np.arange(45, 405, 15))
REACHES = (6.0, 14.0, 26.0, 42.0, 62.0, 86.0)
"""Points between a stimulus and its name, the nearest that is free is taken."""
HALO = [withStroke(linewidth=2.2, foreground="white")]


class Names(Artist):
    """Texts and lines that are placed anew whenever they are drawn; they belong to no axes."""

    def __init__(self, ax: Axes, texts: Sequence[Text], lines: Sequence[Line2D]) -> None:
        super().__init__()
        self.set_zorder(6)
        self.set_clip_on(False)  # else the layout takes no notice of what is beside the axes
        self.texts, self.lines = list(texts), list(lines)
        ax.add_artist(self)
        figure = ax.get_figure(root=False)
        assert figure is not None
        for child in (*self.lines, *self.texts):
            child.set_figure(figure)
        for line in self.lines:
            line.set_transform(IdentityTransform())

    def place(self, renderer: Any) -> None:
        """Give every text and line its place."""
        raise NotImplementedError

    def draw(self, renderer: Any) -> None:
        """Place everything, and draw it."""
        self.place(renderer)
        for child in (*self.lines, *self.texts):
            child.draw(renderer)

    def get_children(self) -> list[Artist]:
        """Texts and lines, as for any artist that is made of others."""
        return [*self.lines, *self.texts]

    def get_tightbbox(self, renderer: Any = None) -> Any:
        """What the layout makes room for: the texts."""
        return Bbox.union([text.get_window_extent(renderer) for text in self.texts])


class PointNames(Names):
    """Names of some points of a cloud, beside them, where they cover no other name and few points.

    A name that finds no free place is not shown. ``points`` (n, 2) are of the cloud, ``which``
    (k) of them have these ``names``, the most important first.
    """

    def __init__(self, ax: Axes, points: Any, which: Sequence[int], names: Sequence[str]) -> None:
        texts = [
            Text(
                0, 0, name, fontsize=SMALL, color=INK, ha="center", va="center",
                path_effects=HALO,
            )
            for name in names
        ]  # fmt: skip
        lines = [
            Line2D([], [], color=INK, lw=0.6, marker="o", ms=2.5, markevery=[0]) for _ in names
        ]
        super().__init__(ax, texts, lines)
        # they are inside the axes
        self.set_in_layout(False)
        self.points = np.asarray(points, dtype=float)
        self.which = list(which)

    def place(self, renderer: Any) -> None:
        """Give every name a place."""
        ax = self.axes
        assert ax is not None
        inside = ax.get_window_extent(renderer)
        cloud = ax.transData.transform(self.points)
        per_point = renderer.points_to_pixels(1.0)
        taken: list[Any] = []
        legend = ax.get_legend()
        if legend is not None:
            low, high = legend.get_window_extent(renderer).get_points()
            taken.append(((low + high) / 2, (high - low) / 2, (low[None] + high) / 2))
        for number, text, line in zip(self.which, self.texts, self.lines, strict=True):
            text.set_visible(True)
            extent = text.get_window_extent(renderer)
            half = np.array([extent.width, extent.height]) / 2 + per_point
            found = _free(cloud[number], half, cloud, taken, inside, per_point)
            text.set_visible(found is not None)
            line.set_visible(found is not None)
            if found is None:
                continue
            text.set_position(tuple(found))
            # from the point to the nearest edge of the name
            near = np.clip(cloud[number], found - half, found + half)
            taken.append((found, half, np.linspace(cloud[number], near, 12)))
            line.set_data(*np.column_stack([cloud[number], near]))


def _free(point: Any, half: Any, cloud: Any, taken: Any, inside: Any, per_point: float) -> Any:
    """The middle of the best free box of this half size near a point, or None."""
    best, least = None, np.inf
    for reach in REACHES:
        if reach / 20 >= least:
            break
        for angle in ANGLES:
            towards = np.array([np.cos(angle), np.sin(angle)])
            middle = point + towards * (reach * per_point + half)
            low, high = middle - half, middle + half
            if (low < inside.min).any() or (high > inside.max).any():
                continue
            # neither a name nor the line to it lies on another name or line
            path = np.linspace(point, np.clip(point, low, high), 12)
            if any(
                (np.abs(middle - other) < half + size).all()
                or (np.abs(path[1:] - other) < size).all(1).any()
                or (np.abs(line - middle) < half).all(1).any()
                for other, size, line in taken
            ):
                continue
            covered = ((cloud > low) & (cloud < high)).all(1).sum()
            cost = covered + reach / 20
            if cost < least:
                best, least = middle, cost
    return best


class LineNames(Names):
    """Names to the right of axes, each at the height where its line ends or as near as may be."""

    def __init__(self, ax: Axes, ends: Sequence[tuple[str, Any, float, str]]) -> None:
        texts = [
            Text(
                1.03, 0.5, name, transform=ax.transAxes, color=INK, fontsize=SMALL + 0.5,
                ha="left", va="center",
            )
            for name, *_ in ends
        ]  # fmt: skip
        super().__init__(ax, texts, [Line2D([], [], color=color, lw=0.8) for *_, color in ends])
        self.ends = [(x, y) for _, x, y, _ in ends]

    def place(self, renderer: Any) -> None:
        """Give every name a place."""
        ax = self.axes
        assert ax is not None
        box = ax.get_window_extent(renderer)
        starts = np.array([ax.transData.transform(end) for end in self._numbers()])
        sizes = np.array([text.get_window_extent(renderer).height for text in self.texts])
        heights = spread_out(starts[:, 1], sizes * 1.02, box.y0, box.y1)
        gap = box.width * 0.03
        for start, height, text, line in zip(starts, heights, self.texts, self.lines, strict=True):
            text.set_position((1.03, (height - box.y0) / box.height))
            line.set_data(
                [start[0], box.x1 + 0.35 * gap, box.x1 + 0.85 * gap], [start[1], height, height]
            )

    def _numbers(self) -> list[tuple[float, float]]:
        ax = self.axes
        assert ax is not None
        number: Any = ax.convert_xunits
        return [(float(number(x)), y) for x, y in self.ends]


def spread_out(wanted: Any, sizes: Any, low: float, high: float) -> Any:
    """Middles of intervals of these sizes that do not overlap, as near to ``wanted`` as may be.

    Between ``low`` and ``high``, as far as they fit.
    """
    order = np.argsort(wanted, kind="stable")
    # groups of intervals that touch, each where its members would have it on average
    groups: list[list[float]] = []  # size, members, sum of the starts that members want
    for number in order:
        groups.append([sizes[number], 1, wanted[number] - sizes[number] / 2])
        while len(groups) > 1 and _start(groups[-2], low, high) + groups[-2][0] > _start(
            groups[-1], low, high
        ):
            size, count, total = groups.pop()
            last = groups[-1]
            groups[-1] = [last[0] + size, last[1] + count, last[2] + total - count * last[0]]
    middles = np.empty(len(order))
    place = iter(order)
    for group in groups:
        at = _start(group, low, high)
        for _ in range(int(group[1])):
            number = next(place)
            middles[number] = at + sizes[number] / 2
            at += sizes[number]
    return middles


def _start(group: list[float], low: float, high: float) -> float:
    return max(low, min(group[2] / group[1], high - group[0]))


class GroupNames(Names):
    """Names to the left of axes, of stretches (name, low, high) of the vertical axis."""

    def __init__(self, ax: Axes, groups: Sequence[tuple[str, float, float]]) -> None:
        texts = [
            Text(
                -0.07, 0.5, name, transform=ax.transAxes, color=INK, fontsize=SMALL, ha="right",
                va="center",
            )
            for name, *_ in groups
        ]  # fmt: skip
        super().__init__(ax, texts, [Line2D([], [], color=INK, lw=0.8) for _ in groups])
        self.groups = list(groups)

    def place(self, renderer: Any) -> None:
        """Give every name a place."""
        ax = self.axes
        assert ax is not None
        box = ax.get_window_extent(renderer)
        ends = np.array(
            [
                [ax.transData.transform((0, y))[1] for y in (low, high)]
                for _, low, high in self.groups
            ]
        )
        sizes = np.array([text.get_window_extent(renderer).height for text in self.texts])
        heights = spread_out(ends.mean(1), sizes * 1.02, box.y0, box.y1)
        step = box.width * 0.02
        for (low, high), height, text, line in zip(
            ends, heights, self.texts, self.lines, strict=True
        ):
            text.set_position((-0.07, (height - box.y0) / box.height))
            inner = 0.08 * (high - low)
            middle = (low + high) / 2
            # a bracket along the group, and a line to its name
            line.set_data(
                box.x0 - step * np.array([0.4, 0.9, 0.9, 3.0, 0.9, 0.9, 0.4]),
                [low + inner, low + inner, middle, height, middle, high - inner, high - inner],
            )
