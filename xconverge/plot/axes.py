"""What all figures share: colours, text that can be drawn, axes. matplotlib comes at the first."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from xconverge.labels.kinds import came
from xconverge.labels.messages import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""Okabe & Ito's, which the colour blind tell apart; its yellow is too light for lines."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
JOINER = "\u200d"
"""What makes one character of several, which are named one by one."""
LINES = ("-", "--", "-.", ":")
INK = "#333333"
FAINT = "#b8b8b8"
BAND = "#e3e3e3"
SMALL = 8.0
"""The smallest text, in points: what is legible in print."""
MISSING = "#c9c9c9"
"""What has no value, where colours are values."""
SEQUENTIAL = "cividis"
LONGEST = 40
"""Characters of a label that a figure has room for."""
FEW_LINES = 8
"""Lines that are named one by one."""


def axes_of(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes that were given, or those of a new figure of this size in inches."""
    if ax is not None:
        if not hasattr(ax, "plot"):
            raise TypeError(
                f"ax must be one Axes of matplotlib, got {came(ax)}; choose one of them"
            )
        return ax
    _, ax = pyplot().subplots(figsize=size, layout="constrained")
    return ax


def pyplot() -> Any:
    """``matplotlib.pyplot``, or an error that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'xconverge[plot]'") from error
    return plt


def style(number: int) -> dict[str, Any]:
    """Colour, marker and line of the line of this number: no two differ in colour alone."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "ls": LINES[number % len(LINES)],
    }


def readable(label: object, longest: int = LONGEST) -> str:
    """A label as the font can draw it, not as a formula; of a long one the beginning and the end.

    Characters without a glyph become their name or number: ``[grinning face]``, ``[U+732B]``.
    """
    text = drawable(str(label))
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-longest // 2 + 1 :]}"
    # a legend leaves out what begins with an underscore
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def drawable(text: str) -> str:
    """Text without what steers its layout, and without characters that the font lacks."""
    from matplotlib.font_manager import FontProperties

    text = escaped(text)
    glyphs = _glyphs(tuple(FontProperties().get_family()))
    if all(ord(character) in glyphs for character in text):
        return text
    shown = (c if ord(c) in glyphs and c != JOINER else _named(c) for c in text)
    return "".join(shown).replace("][", "] [")


def _named(character: str) -> str:
    """What stands for a character that has no glyph; nothing where it is part of another."""
    kind = unicodedata.category(character)
    if kind in ("Mn", "Me", "Cf", "Sk"):  # variation selectors, joiners, tones of skin
        return ""
    name = unicodedata.name(character, "").lower() if kind == "So" else ""
    return f"[{name or f'U+{ord(character):04X}'}]"


@lru_cache
def _glyphs(families: tuple[str, ...]) -> frozenset[int]:
    """Characters that some font of these families has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for family in families:
        try:
            path = findfont(FontProperties(family=[family]), fallback_to_default=False)
        except ValueError:
            continue
        found |= set(get_font(path).get_charmap())
    # where no family is there at all, matplotlib takes its own
    return frozenset(found or get_font(findfont(FontProperties())).get_charmap())


def p_text(p: float, n_permutations: float | None = None) -> str:
    """A p-value as it is printed, never 0.

    What is below 0.001 is told by the power of ten above it: the smallest p of 1,000 permutations,
    1/1,001, is "p < 0.001".
    """
    if not np.isfinite(p):
        return ""
    if p <= 0 and n_permutations:
        p = 1 / (1 + float(n_permutations))
    if p >= 0.001:
        return f"p = {p:.3f}".rstrip("0") if p < 0.9995 else "p = 1"
    above = 10.0 ** np.ceil(np.log10(p)) if p > 0 else 0.0
    # smaller ones rest on a formula, which nobody trusts so far
    return f"p < {max(above, 1e-4):.4f}".rstrip("0")


def bare(ax: Axes) -> Axes:
    """Without the frame above and to the right, and with small text on the ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize=9)
    return ax


def color_map(name: str) -> Any:
    """A colour map of matplotlib, in which what has no value is grey."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=MISSING)


def color_bar(ax: Axes, image: Any, label: str, **place: Any) -> Any:
    """The bar of an image's colours, beside its axes if no other place is given."""
    bar = ax.get_figure().colorbar(image, **(place or {"ax": ax}))  # type: ignore[union-attr]
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def there(place: Any, values: Any) -> tuple[Any, Any]:
    """Places and values where there is a value."""
    known = np.isfinite(values)
    return np.asarray(place)[known], np.asarray(values)[known]


def inches_of(ax: Axes) -> float:
    """How wide axes are, before the layout makes room beside them."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return float(ax.get_window_extent().width / figure.dpi)


def titled(ax: Axes, *sentences: str) -> None:
    """Sentences as the title of axes, each on its own lines; a title of the user's takes its place.

    Lines are as long as the axes are wide.
    """
    # characters of 9 points are 5 points wide on average
    width = max(24, int(inches_of(ax) * 72 / 5))
    lines = [line for sentence in sentences if sentence for line in wrap(sentence, width)]
    ax.set_title("\n".join(lines), fontsize=9, color=INK)


def counted(ax: Axes) -> None:
    """The vertical axis counts stimuli."""
    from matplotlib.ticker import MaxNLocator

    ax.set_ylabel("stimuli")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def legend(ax: Axes, **options: Any) -> None:
    """A legend, where there is something to tell."""
    if ax.get_legend_handles_labels()[1]:
        look = {"framealpha": 0.8, "edgecolor": "none", "fontsize": SMALL + 0.5}
        ax.legend(**{**look, **options})


def makes_room(ax: Axes) -> bool:
    """Whether the figure lays itself out, and makes room for what is beside its axes."""
    figure = ax.get_figure(root=True)
    return figure is not None and figure.get_layout_engine() is not None


def limits(values: Any) -> tuple[float, float]:
    """The least and the largest finite value; of equal values, half a unit around them."""
    known = np.asarray(values)[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high - low > 1e-12 * max(abs(low), abs(high)) else (low - 0.5, low + 0.5)


def count(n: int, what: str = "stimuli") -> str:
    """``1 stimulus``, ``1,380 stimuli``."""
    return "1 stimulus" if n == 1 and what == "stimuli" else f"{n:,} {what}"


def name_lines(ax: Axes, names: Sequence[str], ends: Iterable[tuple[Any, float, str]]) -> None:
    """Name lines to the right of their ends (x, y, colour), apart from each other.

    Where the figure makes no room beside its axes, or the lines are many, in a legend.
    """
    known = [(name, *end) for name, end in zip(names, ends, strict=True) if np.isfinite(end[1])]
    if len(known) > FEW_LINES and makes_room(ax):
        return legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if len(known) > FEW_LINES or not makes_room(ax):
        return legend(ax)
    from xconverge.plot.placing import LineNames

    LineNames(ax, known)


def runs(values: Sequence[Any]) -> list[tuple[Any, int, int]]:
    """Value, first and last position of every run of equal values."""
    found, start = [], 0
    for value, members in groupby(values):
        size = len(list(members))
        found.append((value, start, start + size - 1))
        start += size
    return found
