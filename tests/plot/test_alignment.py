"""Tables of model pairs, pools and subsets."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, scores
from xconverge.testing import planted_study

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")


def names_of(ax):
    return (
        [tick.get_text() for tick in ax.get_yticklabels()],
        [tick.get_text() for tick in ax.get_xticklabels()],
    )


def test_clusters_stand_together():
    """Blocks that were mixed up come out again."""
    rng = np.random.default_rng(0)
    kinds_a, kinds_b = rng.permutation([0, 1] * 4), rng.permutation([0, 1] * 3)
    table = 0.1 + 0.5 * (kinds_a[:, None] == kinds_b) + 0.01 * rng.random((8, 6))
    given = xr.DataArray(
        table,
        dims=("model_a", "model_b"),
        coords={"model_a": [f"a{k}{i}" for i, k in enumerate(kinds_a)],
                "model_b": [f"b{k}{i}" for i, k in enumerate(kinds_b)]},
    )  # fmt: skip
    assert names_of(plot.alignment_matrix(given)) == (
        given["model_a"].values.tolist(), given["model_b"].values.tolist(),
    )  # fmt: skip
    ax = plot.alignment_matrix(given, order="cluster")
    for names in names_of(ax):
        kinds = [name[1] for name in names]
        assert sum(one != other for one, other in zip(kinds[1:], kinds, strict=False)) == 1
    rows, columns = names_of(ax)
    ordered = given.sel(model_a=rows, model_b=columns)
    np.testing.assert_allclose(ax.images[0].get_array(), ordered)
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == [f"{value:.2f}" for value in ordered.values.ravel()]


def test_a_set_with_itself_has_one_order():
    rng = np.random.default_rng(0)
    x = rng.random((6, 6))
    names = list("abcdef")
    given = xr.DataArray(x + x.T, dims=("model_a", "model_b"),
                         coords={"model_a": names, "model_b": names})  # fmt: skip
    rows, columns = names_of(plot.alignment_matrix(given[:, ::-1], order="cluster"))
    assert rows == columns


def test_chance_is_a_line_on_the_bar():
    given = scores(9).assign_coords(chance=(("model_a", "model_b"), [[0.1], [0.3]]))
    ax = plot.alignment_matrix(given)
    bar = ax.get_figure().axes[-1]
    np.testing.assert_allclose(bar.lines[-1].get_ydata(), 0.2)
    assert "chance 0.2" in [text.get_text() for text in bar.texts]
    assert not plot.alignment_matrix(scores(9)).get_figure().axes[-1].texts


def test_groups_and_studies_are_taken_as_they_are():
    tree = xr.DataTree.from_dict({"alignment": xr.Dataset({"mutual_knn": scores(9)})})
    for given in (tree, tree["alignment"], tree["alignment"].to_dataset()):
        np.testing.assert_allclose(
            plot.alignment_matrix(given).images[0].get_array(), scores(9).mean("stimulus")
        )
    with pytest.raises(ValueError, match="order='clusters'.*did you mean 'cluster'"):
        plot.alignment_matrix(tree, order="clusters")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (9, 9), (2, 30), (70, 20)])
def test_tables_of_any_size(rows, columns, monkeypatch):
    a = ODD[:rows] if rows < 10 else [f"model a {i}" for i in range(rows)]
    b = ODD[:columns] if columns < 10 else [f"model b {i}" for i in range(columns)]
    given = scores(3, a, b).mean("stimulus", keep_attrs=True)
    ax = plot.alignment_matrix(given, order="cluster")
    assert_legible(ax.get_figure(), monkeypatch)
    assert bool(ax.texts) == (columns <= 16)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_missing_scores_are_grey(share, monkeypatch):
    given = scores(3, "uvw", "xyz").mean("stimulus")
    missing = np.arange(9).reshape(3, 3) < 9 * share
    ax = plot.alignment_matrix(given.where(~missing), order="cluster")
    assert np.isnan(np.asarray(ax.images[0].get_array().filled(np.nan))).sum() == missing.sum()
    assert [text.get_text() for text in ax.texts].count("–") == missing.sum()
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_a_pool_curve_is_the_mean_over_pairs(monkeypatch):
    study = planted_study(n_models=2, n_stimuli=40, rng=0)
    curve = xc.pool_curve(study["vision"], study["language"], [20, 40], n_repeats=2, rng=0)
    ax = plot.pool_curve(curve)
    expected = curve["alignment"].mean(["model_a", "model_b"])
    for number, kind in ((0, "fixed_k"), (2, "fixed_share")):
        np.testing.assert_allclose(ax.lines[number].get_ydata(), expected.sel(neighbors=kind))
    chance = curve["chance"].mean(["model_a", "model_b"]).sel(neighbors="fixed_k")
    np.testing.assert_allclose(ax.lines[1].get_ydata(), chance)
    assert_legible(ax.get_figure(), monkeypatch)
    with pytest.raises(xc.SchemaError, match=r"curve must be what.*pool_curve\(…\)"):
        plot.pool_curve(curve[["k"]])


def contrast(controls=("random", "surrogates")):
    dims = ("control", "subset", "pool")
    shape = (len(controls), 2, 2)
    mean = np.full(shape, 0.3)
    return xr.Dataset(
        {
            "score": (dims[1:], [[0.6, 0.7], [0.1, 0.2]]),
            "chance": (dims[1:], np.full((2, 2), 0.05)),
            "random_mean": (dims, mean),
            "random_lower": (dims, mean - 0.1),
            "random_upper": (dims, mean + 0.2),
            "p_value": (dims, np.full(shape, 2 / 1001)),
            "low_minus_high": ("pool", [0.5, 0.5]),
            "low_minus_high_lower": ("pool", [0.25, np.nan]),
            "low_minus_high_upper": ("pool", [0.75, np.nan]),
        },
        coords={"control": list(controls), "subset": ["low", "high"], "pool": ["full", "inside"]},
        attrs={"n_random": 1000, "size": 60, "level": 0.95, "metric": "mutual_knn"},
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("controls", [("random",), ("random", "matched", "surrogates")])
def test_subsets_are_drawn_beside_what_they_are_compared_with(controls, monkeypatch):
    ax = plot.subset_contrast(contrast(controls))
    scores_drawn = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert scores_drawn == [0.6, 0.1]
    assert len(ax.containers) == 2 * len(controls)
    segment = ax.containers[0][2][0].get_segments()[0]
    np.testing.assert_allclose(segment[:, 1], [0.2, 0.5])
    drawn = [text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)]
    assert drawn.count("p = 0.002") == 2 * len(controls)
    assert "low − high = +0.500 (95% interval 0.250 to 0.750)" in drawn
    inside = plot.subset_contrast(contrast(controls), pool="inside")
    assert inside.get_title() == "low − high = +0.500"
    assert "inside the subset" in inside.get_ylabel()


def test_what_is_no_contrast_is_refused():
    with pytest.raises(ValueError, match="pool='all'.*choose one of full, inside"):
        plot.subset_contrast(contrast(), pool="all")
    with pytest.raises(TypeError, match="subset_contrast.*got 'table'"):
        plot.subset_contrast("table")
    missing = contrast() * np.nan
    assert plot.subset_contrast(missing).get_title() == ""
