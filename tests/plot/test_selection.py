"""Chosen stimuli among all that there were."""

import numpy as np
import pytest

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, values
from xconverge.testing import planted_study

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")


def spread(n=60, groups=("a", "b", "c")):
    return values(n).assign_coords(kind=("stimulus", [groups[i % len(groups)] for i in range(n)]))


def test_chosen_stimuli_lie_where_they_are(monkeypatch):
    given = spread()
    chosen = xc.select_stimuli(given, 7, "high")
    ax = plot.selection(chosen, given[::-1])
    rug = next(line for line in ax.lines if line.get_label() == "each chosen one")
    assert sorted(rug.get_xdata()) == sorted(given.sel(stimulus=chosen["stimulus"]).values)
    heights = [bar.get_height() for bar in ax.patches]
    half = len(heights) // 2
    assert (sum(heights[:half]), sum(heights[half:])) == (60, 7)
    assert ax.get_title() == "7 of 60 stimuli"
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_groups_are_counted(monkeypatch):
    given = spread()
    chosen = xc.select_stimuli(given, 6, groups="kind", quotas={"a": 1, "b": 2, "c": 3})
    for groups in ("kind", given["kind"][::-1]):
        ax = plot.selection(chosen, given, groups=groups)
        rows = [tick.get_text() for tick in ax.get_yticklabels()]
        assert rows == ["c\n3 of 20", "b\n2 of 20", "a\n1 of 20"]
        assert_legible(ax.get_figure(), monkeypatch)


def test_optimized_sets_are_drawn_too():
    study = planted_study(n_models=2, n_stimuli=30, rng=0)
    chosen = xc.optimize_stimuli(study["vision"], 5, n_restarts=0, n_perturbations=0, rng=0)
    ax = plot.selection(chosen, xc.dispersion(study["vision"], "neighborhood"))
    assert ax.get_title() == "5 of 30 stimuli"


@pytest.mark.slow
def test_of_many_groups_those_with_most_have_a_row(monkeypatch):
    groups = [f"group {i}" for i in range(50)]
    given = spread(100, groups)
    ax = plot.selection(xc.select_stimuli(given, 10), given, groups="kind")
    rows = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(rows) == 20
    assert rows[-1] == "31 other groups\n0 of 62"
    assert sum(int(row.split("\n")[1].split()[0]) for row in rows) == 10
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.0, np.nan])
def test_any_values_and_labels(scale, monkeypatch):
    given = spread(18, ODD)
    chosen = xc.select_stimuli(given, 3)
    for groups in (None, "kind"):
        ax = plot.selection(chosen, given * scale, groups=groups)
        assert_legible(ax.get_figure(), monkeypatch)


def test_what_does_not_belong_together_is_refused():
    given = spread()
    chosen = xc.select_stimuli(given, 7)
    with pytest.raises(xc.SchemaError, match="no value for the chosen.*all stimuli"):
        plot.selection(chosen, given.drop_sel(stimulus=chosen["stimulus"][:2].values))
    with pytest.raises(TypeError, match="chosen must be what.*select_stimuli"):
        plot.selection(["s1"], given)
    with pytest.raises(xc.SchemaError, match="groups='color' must be a coordinate"):
        plot.selection(chosen, given, groups="color")
