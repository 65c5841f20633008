"""The consensus as a map, and how its fit converged."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, points_of, values
from xconverge.testing import planted_study

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")


def space(n, components=3, labels=None, rng=0):
    labels = [f"s{i}" for i in range(n)] if labels is None else labels
    drawn = np.random.default_rng(rng).normal(size=(2, n, components))
    return xr.Dataset(
        {
            "aligned": (("model", "stimulus", "component"), drawn),
            "consensus": (("stimulus", "component"), drawn.mean(0)),
            "objective": ("iteration", [3.0, 2.0, 1.5]),
            "unexplained": 0.25,
        },
        coords={"model": ["u", "v"], "stimulus": labels},
    )


def test_the_map_is_the_first_two_principal_components():
    table, spread = space(50), values(50)
    ax = plot.consensus_map(table, spread[::-1])  # joined by label
    rows = table["consensus"].values
    rows = rows - rows.mean(0)
    sizes, axes = np.linalg.eigh(rows.T @ rows)
    for number in (0, 1):
        expected = rows @ axes[:, -1 - number]
        np.testing.assert_allclose(abs(points_of(ax)[:, number]), abs(expected), atol=1e-9)
        share = 100 * sizes[-1 - number] / sizes.sum()
        label = (ax.get_xlabel(), ax.get_ylabel())[number]
        assert f"({share:.0f} % of variance)" in label
    np.testing.assert_allclose(ax.collections[0].get_array(), spread)
    # the higher, the larger: not by colour alone
    marks = ax.collections[0].get_sizes()
    assert (np.argsort(marks) == np.argsort(spread.values)).all()


def test_dispersion_is_by_default_the_distance_to_this_consensus():
    study = planted_study(n_stimuli=40, rng=0)
    table = xc.shared_space(study["vision"], n_components=4)
    ax = plot.consensus_map(table)
    expected = xc.dispersion(table["aligned"], "consensus", normalize=True)
    np.testing.assert_allclose(ax.collections[0].get_array(), expected)
    tree = xr.DataTree.from_dict(
        {"shared_space": table, "dispersion": xr.Dataset({"dispersion": values(40)})}
    )
    with pytest.raises(xc.SchemaError, match="same labels"):
        plot.consensus_map(tree)  # its own group


def test_names_are_far_from_each_other(monkeypatch):
    table = space(3, 2, labels=["far", "near", "beside"])
    table["consensus"][:] = [[9, 0], [0, 0], [0.1, 0]]
    ax = plot.consensus_map(table, values(3, ["far", "near", "beside"]), n_named=2)
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert {"far", "near"} <= drawn
    assert "beside" not in drawn


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("n", "components"), [(1, 1), (2, 3), (5, 1), (9, 2), (10_000, 2)])
def test_maps_of_few_and_many_stimuli(n, components, monkeypatch):
    labels = ODD[:n] if n < 10 else None
    ax = plot.consensus_map(space(n, components, labels), values(n, labels), n_named=5)
    assert len(points_of(ax)) == n
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_equal_and_missing_values(monkeypatch):
    spread = values(20)
    spread[:5] = np.nan
    ax = plot.consensus_map(space(20), spread)
    assert len(points_of(ax)) == 15
    assert len(ax.lines[0].get_xdata()) == 5
    for given in (spread * np.nan, spread * 0):
        assert_legible(plot.consensus_map(space(20), given).get_figure(), monkeypatch)
    flat = space(20)
    flat["consensus"][:] = 0
    assert "(0 % of variance)" in plot.consensus_map(flat, spread).get_xlabel()
    unseen = space(20)
    unseen["consensus"][4] = np.nan
    assert len(points_of(plot.consensus_map(unseen, values(20)))) == 19


def test_convergence_is_the_objective(monkeypatch):
    table = space(20)
    table["unexplained"].attrs["chance"] = 0.5
    ax = plot.convergence(table)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    assert ax.get_title() == (
        "unexplained: 0.250 (unrelated models: 0.500)\n"
        "the last iteration lowered it by 2.5e−01 of itself"
    )
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_spaces_of_groups_have_a_line_each(monkeypatch):
    sets = planted_study(n_stimuli=30, rng=0)["vision"]
    sets = sets.assign_coords(family=("model", list("aabb")))
    table = xc.shared_space(sets, by="family", n_components=4)
    ax = plot.convergence(table)
    for line, name in zip(ax.lines, "ab", strict=True):
        known = table["objective"].sel(family_group=name).dropna("iteration")
        np.testing.assert_allclose(line.get_ydata(), known)
        assert line.get_label() == name
    assert_legible(ax.get_figure(), monkeypatch)
    with pytest.raises(xc.SchemaError, match=r"consensus of space has the dims \['family_group'\]"):
        plot.consensus_map(table)


def test_what_is_no_space_is_refused():
    for given, error in ((values(9), TypeError), (xr.Dataset({"x": 1}), xc.SchemaError)):
        for function in (plot.consensus_map, plot.convergence):
            with pytest.raises(error, match=r"space must be what.*shared_space\(…\)"):
                function(given)
