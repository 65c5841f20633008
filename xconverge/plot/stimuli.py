"""The stimuli themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from xconverge.labels.arguments import whole
from xconverge.labels.kinds import came
from xconverge.labels.messages import listing
from xconverge.plot.axes import INK, SMALL, axes_of, readable
from xconverge.plot.pictures import Images, pictures_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 2000
"""Pictures of one figure."""
CELL = 0.72
"""Inches of a thumbnail."""
CAPTIONED = 0.95
"""Inches of a thumbnail with a caption, where text of a legible size has room."""
GAP = 0.18
"""Between rows, in thumbnails."""


def stimuli(
    images: Images,
    rows: Mapping[str, Sequence[str]],
    title: str = "",
    *,
    columns: int = 12,
    captions: bool | Mapping[str, str] = False,
    ax: Axes | None = None,
) -> Axes:
    """Pictures of stimuli, a row for each set of labels, wrapped where it is long.

    Parameters
    ----------
    images : folder, ZIP file, or mapping of label to array or path
        Pictures: files that are named as their stimulus (``s1.png``); or of each stimulus an array
        (height, width[, channel]), of 0 to 255 or of 0 to 1, or the path of a file.
    rows : mapping of text to labels
        What to show beside each row, and its stimuli.
    title : str
        Over the figure.
    columns : int
        Pictures in a line; more are wrapped.
    captions : bool or mapping of label to text
        Text under the pictures: True for the labels, or what is given for each label.
    ax : Axes, optional
        Where to draw; a new figure, as large as it needs to be, by default.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Labels without a picture; more than 2,000 pictures.
    SchemaError
        Files and arrays that are no pictures, by label.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("agg")
    >>> import numpy as np
    >>> ax = stimuli({"cat": np.zeros((4, 4, 3))}, {"low": ["cat"]}, captions=True)
    >>> [text.get_text() for text in ax.texts]
    ['low', 'cat']
    """
    if not isinstance(rows, Mapping) or not rows:
        raise TypeError(f"rows must be a dict that is not empty, got {came(rows)}")
    pictures = pictures_of(images)
    if not isinstance(title, str):
        raise TypeError(f"title must be text, got title={came(title)}")
    whole("columns", columns, 1)
    sets = {str(words): [str(label) for label in labels] for words, labels in rows.items()}
    texts = _captions(captions, sets)
    lacking = [label for labels in sets.values() for label in labels if label not in pictures]
    if lacking:
        raise ValueError(f"images has no picture of {listing(lacking)}, which rows names")
    n = sum(map(len, sets.values()))
    if n > MOST:
        raise ValueError(f"rows names {n:,} stimuli, and a figure shows {MOST:,} at most: name few")
    columns = max(min(columns, max(map(len, sets.values()))), 1)
    lines = [max(1, -(-len(labels) // columns)) for labels in sets.values()]
    cell, tall = (CELL, 1.0) if texts is None else (CAPTIONED, 1.0 + _caption_height(texts))
    total = tall * sum(lines) + GAP * (len(sets) - 1)
    own = ax is None
    ax = axes_of(ax, (columns * cell, total * cell))
    top = 0.0
    beside = []
    for (words, labels), n_lines in zip(sets.items(), lines, strict=True):
        beside.append(
            ax.text(
                -0.15, top + 0.5, _wrapped(words, 18, 4), ha="right", va="center", color=INK,
                fontsize=9,
            )
        )  # fmt: skip
        for number, label in enumerate(labels):
            line, column = divmod(number, columns)
            _picture(ax, pictures[label](), column, top + line * tall)
            if texts is not None:
                ax.text(
                    column + 0.5, top + line * tall + 0.98, texts[label], ha="center",
                    va="top", color=INK, fontsize=SMALL, linespacing=1.0,
                )  # fmt: skip
        top += n_lines * tall + GAP
    ax.set(xlim=(0, columns), ylim=(total, 0), aspect="equal")
    ax.set_axis_off()
    heading = "\n".join(wrap(readable(title, 200), max(20, int(columns * cell * 10))))
    ax.set_title(heading, fontsize=10, color=INK)
    if own:
        _fit(ax, beside, columns * cell, total * cell, cell)
    return ax


def _caption_height(texts: Mapping[str, str]) -> float:
    """Room for the longest caption, in pictures."""
    most = max((text.count("\n") + 1 for text in texts.values()), default=1)
    return float((most * SMALL * 1.2 + 4) / 72 / CAPTIONED)


def _fit(ax: Axes, beside: Sequence[Any], wide: float, high: float, cell: float) -> None:
    """Make the figure as large as pictures of this size and all text need."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.set_layout_engine("none")
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    widths = [text.get_window_extent(renderer).width for text in beside]
    left = max(widths) / figure.dpi + 0.15 * cell + 0.08
    heading = ax.title.get_window_extent(renderer)
    above = heading.height / figure.dpi + 0.2 if ax.get_title() else 0.08
    # a heading is over the middle of the pictures, and may be wider than they are
    right = max(0.08, (heading.width / figure.dpi - wide) / 2 + 0.08)
    left = max(left, right)
    size = (left + wide + right, above + high + 0.08)
    figure.set_size_inches(*size)
    ax.set_position((left / size[0], 0.08 / size[1], wide / size[0], high / size[1]))


def _captions(captions: Any, sets: Mapping[str, list[str]]) -> dict[str, str] | None:
    """Text under every picture, in lines that fit there."""
    labels = [label for labels in sets.values() for label in labels]
    if isinstance(captions, Mapping):
        lacking = [label for label in labels if label not in captions]
        if lacking:
            raise ValueError(f"captions has no text for {listing(lacking)}, which rows names")
        return {label: _wrapped(str(captions[label]), 14, 3) for label in labels}
    if not isinstance(captions, bool | np.bool_):
        raise TypeError(
            f"captions must be True, False or a dict of label to text, got {came(captions)}"
        )
    return {label: _wrapped(label, 14, 3) for label in labels} if captions else None


def _wrapped(text: str, width: int, most: int) -> str:
    """Text in lines of this width, as the font can draw it; a long one ends in an ellipsis."""
    lines = [
        line for part in text.split("\n") for line in wrap(readable(part, width * most + 20), width)
    ]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: width - 1] + "…"]
    return "\n".join(lines)


def _picture(ax: Axes, image: Any, column: int, top: float) -> None:
    """Draw a picture into its cell, in its own proportions."""
    height, width = image.shape[:2]
    high, wide = 0.47 * np.array([height, width]) / max(height, width)
    middle = (column + 0.5, top + 0.5)
    bright = image.ndim == 2
    ax.imshow(
        image, extent=(middle[0] - wide, middle[0] + wide, middle[1] + high, middle[1] - high),
        aspect="auto", cmap="gray" if bright else None, vmin=0,
        vmax=255 if image.dtype.kind in "iu" else 1,
    )  # fmt: skip
