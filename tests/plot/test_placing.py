"""Names move out of each other's way, at any size."""

import numpy as np
import pytest

from tests.plot.drawn import assert_legible, texts_of

plt = pytest.importorskip("matplotlib.pyplot")
placing = pytest.importorskip("xconverge.plot.placing")


def test_intervals_are_spread_as_little_as_need_be():
    found = placing.spread_out(np.array([1.0, 5.0, 9.0]), np.ones(3), 0, 10)
    np.testing.assert_allclose(found, [1, 5, 9])
    # three at one place: around it
    found = placing.spread_out(np.array([5.0, 5.0, 5.0]), np.ones(3), 0, 10)
    np.testing.assert_allclose(found, [4, 5, 6])
    # at the edge: inside
    found = placing.spread_out(np.array([0.0, 0.0]), np.ones(2), 0, 10)
    np.testing.assert_allclose(found, [0.5, 1.5])


@pytest.mark.parametrize("seed", range(20))
def test_spread_intervals_keep_their_order_and_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    wanted, sizes = rng.choice([0.0, 3.0, 9.9, *rng.random(4) * 10], n), rng.uniform(0.1, 0.8, n)
    found = placing.spread_out(wanted, sizes, 0, 10)
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(found[order]) - (sizes[order][1:] + sizes[order][:-1]) / 2
    assert (gaps > -1e-9).all()
    assert ((found - sizes / 2) > -1e-9).all()
    assert ((found + sizes / 2) < 10 + 1e-9).all()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("size", [(3.0, 2.5), (5.6, 4.0), (9.0, 7.0)])
def test_names_of_points_lie_beside_each_other(size, monkeypatch):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(300, 2)), np.tile([[4.0, 0.0]], (6, 1))])
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.plot(*points.T, ".")
    names = [f"stimulus {i}" for i in range(300, 306)]
    # six at one point of an edge
    placed = placing.PointNames(ax, points, range(300, 306), names)
    drawn = {text for text, *_ in assert_legible(figure, monkeypatch)}
    assert len(drawn & set(names)) >= 3
    box = ax.get_window_extent()
    for text, line in zip(placed.texts, placed.lines, strict=True):
        if text.get_visible():
            np.testing.assert_allclose(line.get_xydata()[0], ax.transData.transform((4.0, 0.0)))
            inside = text.get_window_extent()
            assert inside.x1 <= box.x1 + 1
            assert inside.y1 <= box.y1 + 1


def test_a_name_without_a_place_is_not_shown(monkeypatch):
    figure, ax = plt.subplots(figsize=(1.5, 1.2), layout="constrained")
    ax.plot([0, 1], [0, 1], ".")
    name = "a name that is wider than the axes are"
    placing.PointNames(ax, [[0, 0], [1, 1]], [0], [name])
    assert name not in {text for text, *_ in texts_of(figure, monkeypatch)}


def test_names_of_lines_end_up_inside_the_figure_in_the_order_of_the_lines(monkeypatch):
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    heights = [0.5, 0.5, 0.51, 0.49, 1.0, 0.0]
    names = [f"a rather long name {i}" for i in range(6)]
    for height in heights:
        ax.plot([0, 1], [0, height])
    placing.LineNames(ax, [(name, 1, y, "black") for name, y in zip(names, heights, strict=True)])
    boxes = {text: box for text, box, *_ in assert_legible(figure, monkeypatch)}
    middles = [boxes[name].y0 for name in names]
    assert np.argsort(middles).tolist() == [5, 3, 0, 1, 2, 4]
