"""Text that a font can draw, p-values, colours and axes."""

import warnings

import numpy as np
import pytest

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, scores, values
from xconverge.plot import axes

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("plain", "plain"),
        ("$a_1$", r"\$a_1\$"),
        ("_private", " _private"),
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("猫", "[U+732B]"),
        ("\U0001f9a9", "[flamingo]"),
        ("\U0001f9a9\U0001f9a9", "[flamingo] [flamingo]"),
        # a joiner and a skin tone are parts of another character
        ("\U0001f9d1\U0001f3fd\u200d\U0001f9b0", "[adult] [emoji component red hair]"),
        (7, "7"),
    ],
)
def test_labels_are_text_that_the_font_has(label, text):
    assert axes.readable(label) == text


def test_long_labels_keep_both_ends():
    label = "".join(chr(ord("a") + i % 26) for i in range(300))
    shown = axes.readable(label, 20)
    assert len(shown) == 20
    assert shown == f"{label[:10]}…{label[-9:]}"


@pytest.mark.parametrize("family", ["sans-serif", "DejaVu Serif", "a font that is not there"])
def test_no_glyph_is_missing_whatever_the_family(family):
    with plt.rc_context({"font.family": [family]}), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure, ax = plt.subplots()
        ax.text(0.5, 0.5, " ".join(map(axes.readable, ODD)))
        figure.canvas.draw()
    # matplotlib warns of a character that no font has
    assert not told


@pytest.mark.parametrize(
    ("p", "n", "text"),
    [
        (1 / 1001, 1000, "p < 0.001"),
        (1 / 10_001, 10_000, "p < 0.0001"),
        (1 / 100, 99, "p = 0.01"),
        (0.0304, 999, "p = 0.03"),
        (0.5, 999, "p = 0.5"),
        (1.0, 999, "p = 1"),
        (0.9999, 9999, "p = 1"),
        (0.0010, 999, "p = 0.001"),
        (0.0005, 9999, "p < 0.001"),
        (1e-80, 99, "p < 0.0001"),
        (0.0, 199, "p = 0.005"),
        (0.0, None, "p < 0.0001"),
        (np.nan, 99, ""),
    ],
)
def test_p_values_are_never_zero(p, n, text):
    assert axes.p_text(p, n) == text


def test_no_two_lines_differ_in_colour_alone():
    looks = [axes.style(i) for i in range(28)]
    without = {(look["marker"], look["ls"]) for look in looks}
    assert len(without) == len(looks)


def test_limits_of_equal_values_are_apart():
    assert axes.limits([np.nan, 1.0, 3.0]) == (1.0, 3.0)
    assert axes.limits([2.0, 2.0]) == (1.5, 2.5)
    assert axes.limits([1.0, 1.0 + 1e-15]) == (0.5, 1.5)
    assert axes.limits([np.nan]) == (0.0, 1.0)


def test_counts_have_a_singular():
    assert axes.count(1) == "1 stimulus"
    assert axes.count(0) == "0 stimuli"
    assert axes.count(1380) == "1,380 stimuli"


def test_runs_of_equal_values():
    assert axes.runs(list("aabccc")) == [("a", 0, 1), ("b", 2, 2), ("c", 3, 5)]


def test_a_title_of_the_user_takes_the_place_of_ours():
    _, ax = plt.subplots()
    axes.titled(ax, "one sentence", "", "and " + "many more words " * 12)
    first, *rest = ax.get_title().split("\n")
    assert first == "one sentence"
    assert len(rest) > 1
    assert max(map(len, rest)) <= 72
    narrow = plt.subplots(figsize=(2.5, 2))[1]
    axes.titled(narrow, "many more words " * 12)
    assert max(map(len, narrow.get_title().split("\n"))) <= 28
    ax.set_title("mine")
    assert {ax.get_title(loc) for loc in ("left", "center", "right")} == {"", "mine"}


def test_what_is_no_axes_is_refused():
    figure, several = plt.subplots(1, 2)
    with pytest.raises(TypeError, match="ax must be one Axes of matplotlib"):
        axes.axes_of(several, (1, 1))
    assert axes.axes_of(several[0], (1, 1)) is several[0]
    assert axes.axes_of(None, (3, 2)).get_figure() is not figure


@pytest.mark.parametrize("layout", ["constrained", None])
@pytest.mark.parametrize("n", [3, 12])
def test_lines_are_named_beside_them_where_there_is_room(layout, n):
    _, ax = plt.subplots(layout=layout)
    names = [f"line {i}" for i in range(n)]
    for i, name in enumerate(names):
        ax.plot([0, 1], [0, i], label=name)
    axes.name_lines(ax, names, [(1, i, "black") for i in range(n)])
    legend = ax.get_legend()
    if layout and n <= axes.FEW_LINES:
        assert legend is None
    else:
        assert [text.get_text() for text in legend.get_texts()] == names


@pytest.mark.slow
def test_what_attributes_say_is_text_too(monkeypatch):
    # half a formula, a colour of a terminal, a line of its own
    odd = "$\\frac{1$ \x1b[31m\n"
    spread = values(9).assign_attrs(metric=odd)
    agreement = scores(9).assign_attrs(metric=odd)
    for ax in (
        xc.plot.dispersion_alignment(spread, agreement),
        xc.plot.dispersion_histogram(spread.assign_coords(measure=odd)),
        xc.plot.alignment_matrix(agreement),
    ):
        drawn = [text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)]
        assert any(r"\x1b[31m" in text for text in drawn)
