"""RSA by bin, models and RDMs: what is drawn is what the results say."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, square, texts_of, values
from xconverge.testing import planted_study

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")


def by_bin(n_bins=3, models=("u", "v"), rng=0):
    """As the group rsa of analyze."""
    drawn = np.random.default_rng(rng)
    return xr.Dataset(
        {
            "rsa_by_bin": (("bin", "model_a"), drawn.random((n_bins, len(models)))),
            "rsa_of_mean_by_bin": ("bin", drawn.random(n_bins)),
            "p_value_of_mean_by_bin": ("bin", np.full(n_bins, 1 / 1001)),
            "chance_of_mean_by_bin": ("bin", np.zeros(n_bins)),
            "threshold_of_mean_by_bin": ("bin", np.full(n_bins, 0.2)),
            "n_stimuli": ("bin", np.arange(30, 30 + n_bins)),
        },
        coords={"bin": np.arange(n_bins), "model_a": list(models)},
        attrs={"n_permutations": 1000},
    )


def test_models_are_named_at_their_lines(monkeypatch):
    table = by_bin()
    ax = plot.rsa_by_bin(table)
    for line, name in zip(ax.lines, "uv", strict=False):
        np.testing.assert_allclose(line.get_ydata(), table["rsa_by_bin"].sel(model_a=name))
        assert line.get_label() == name
    np.testing.assert_allclose(ax.lines[2].get_ydata(), table["rsa_of_mean_by_bin"])
    drawn = [text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)]
    assert {"u", "v", "mean RDM", "95% of\npermutations", "1 of 3\nn = 30"} <= {*drawn}
    assert drawn.count("p < 0.001") == 3
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 0.2)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("n", [1, 8, 9, 100])
def test_many_models_are_grey(n, monkeypatch):
    models = ODD[:n] if n < 10 else [f"m{i}" for i in range(n)]
    ax = plot.rsa_by_bin(by_bin(models=models))
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert (f"{n} single models" in drawn) == (n > 8)
    assert len({line.get_color() for line in ax.lines[:n]}) == (min(n, 7) if n <= 8 else 1)


def test_missing_bins_are_left_out():
    table = by_bin()
    table["rsa_by_bin"][:, 0] = np.nan
    table["rsa_of_mean_by_bin"][1] = np.nan
    ax = plot.rsa_by_bin(table)
    assert [len(line.get_xdata()) for line in ax.lines[:3]] == [0, 3, 2]


def test_a_node_and_a_study_are_taken_as_they_are():
    tree = xr.DataTree.from_dict({"rsa": by_bin()})
    for given in (tree, tree["rsa"], tree["rsa"].to_dataset()):
        assert len(plot.rsa_by_bin(given).lines) == 4
    with pytest.raises(xc.SchemaError, match=r"result must be what.*analyze\(…\)\['rsa'\].*got"):
        plot.rsa_by_bin(xr.DataTree.from_dict({"modulation": by_bin()}))


@pytest.mark.slow
def test_what_permutations_reach_in_a_bin_is_kept_and_drawn(monkeypatch):
    study = planted_study(n_models=2, n_stimuli=40, rng=0)
    spread = xc.dispersion(study["vision"], "neighborhood")
    brain = xc.rdm(study["language"]).mean("model")
    table = xc.binned_rsa(study["vision"], brain, spread, 2, n_permutations=99, rng=0)
    for number in (0, 1):
        inside = xc.dispersion_bins(spread, 2).values == number
        models = xc.rdm(study["vision"].isel(stimulus=inside)).mean("model")
        target = brain[inside][:, inside]
        found = xc.calibrate_rsa(models, target, n_permutations=499, rng=0)
        assert float(table["threshold"][number]) == pytest.approx(
            float(found["threshold"]), abs=0.1
        )
        assert abs(float(table["chance"][number])) < 0.05
    ax = plot.binned_rsa(table)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(band.max(), float(table["threshold"].max()))
    assert_legible(ax.get_figure(), monkeypatch)
    # one of no permutations has none
    none = xc.binned_rsa(study["vision"], brain, spread, 2, n_permutations=0)
    assert not plot.binned_rsa(none).collections


def test_what_trials_tell_is_drawn_beside(monkeypatch):
    table = xr.Dataset(
        {
            "rsa": ("bin", [0.5, 0.1]),
            "n_stimuli": ("bin", [30, 30]),
            "ceiling": ("bin", [0.8, np.nan]),
            "rsa_corrected": ("bin", [0.7, np.nan]),
            "rsa_corrected_lower": ("bin", [0.6, np.nan]),
            "rsa_corrected_upper": ("bin", [0.9, np.nan]),
        },
        coords={"bin": [0, 1]},
    )
    ax = plot.binned_rsa(table)
    (interval,) = ax.collections[0].get_segments()
    np.testing.assert_allclose(interval[:, 1], [0.6, 0.9])
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert {"RSA", "RSA without\nmeasurement noise", "not told"} <= drawn
    assert "ceiling: a true\nmodel, as noisy" in drawn


def test_lines_of_another_dim_are_named(monkeypatch):
    table = xr.Dataset(
        {"rsa": (("bin", "subject"), [[0.5, 0.1], [0.2, 0.3]]), "n_stimuli": ("bin", [9, 9])},
        coords={"bin": [0, 1], "subject": ["one", "other"]},
    )
    ax = plot.binned_rsa(table)
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert {"one", "other"} <= drawn
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.1, 0.3])
    with pytest.raises(xc.SchemaError, match=r"dims \['time'\] too"):
        plot.binned_rsa(table.expand_dims(time=2))


def ranking(n=4, subjects=True):
    drawn = np.random.default_rng(0)
    shape = (n, 3)
    rsa = drawn.uniform(0, 0.6, shape)
    top = np.full(shape, 0.7 if subjects else np.nan)
    names = ("rsa", "lower", "upper", "ceiling_lower", "ceiling_upper", "among_best")
    parts = (rsa, rsa - 0.1, rsa + 0.1, top - 0.1, top, rsa > 0.3)
    return xr.Dataset(
        {name: (("model", "subset"), part) for name, part in zip(names, parts, strict=True)},
        coords={"model": (ODD * 2)[:n], "subset": ["all", "1 of 2", "2 of 2"]},
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("n", "subjects"), [(1, True), (9, True), (9, False)])
def test_models_are_ranked_from_the_best_downwards(n, subjects, monkeypatch):
    table = ranking(n, subjects)
    ax = plot.models_by_subset(table)
    assert_legible(ax.get_figure(), monkeypatch)
    order = np.argsort(table["rsa"][:, 0].values)
    first = np.concatenate([line.get_xydata() for line in ax.lines[:2]])
    np.testing.assert_allclose(first[first[:, 1].argsort(), 0], table["rsa"][order, 0])
    with pytest.raises(xc.SchemaError, match="select_models.*got a Dataset of 'rsa'"):
        plot.models_by_subset(table[["rsa"]])


def test_an_rdm_is_ordered_by_a_coordinate(monkeypatch):
    kinds = ["tool", "animal"] * 4
    distances = square(8).assign_coords(kind=("stimulus", kinds))
    # the other side is joined by its labels
    ax = plot.rdm(distances[:, ::-1], "kind")
    order = [1, 3, 5, 7, 0, 2, 4, 6]
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), distances.values[np.ix_(order, order)])
    off = distances.values[~np.eye(8, dtype=bool)]
    assert image.get_clim() == (off.min(), off.max())
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert {"animal (4)", "tool (4)", "8 stimuli, ordered by kind"} <= drawn
    assert {line.get_xdata()[0] for line in ax.lines if len({*line.get_xdata()}) == 1} == {3.5}
    given = xr.DataArray(
        kinds[::-1], dims="stimulus", coords={"stimulus": distances.stimulus[::-1]}
    )
    again = plot.rdm(distances, given)
    np.testing.assert_allclose(again.images[0].get_array(), image.get_array())


def test_numbers_are_an_order_and_no_groups(monkeypatch):
    ages = values(30)
    ax = plot.rdm(square(30).assign_coords(age=("stimulus", ages.values)), "age")
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert ticks[0] == f"{float(ages.min()):.3g}"
    assert ticks[-1] == f"{float(ages.max()):.3g}"
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_a_large_rdm_is_drawn_as_means():
    ax = plot.rdm(square(2000))
    expected = square(2000).values.reshape(1000, 2, 1000, 2).mean((1, 3))
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    assert ax.get_xlabel() == "2,000 stimuli"


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 1, 9])
def test_rdms_of_few_stimuli(n, monkeypatch):
    labels = ODD[:n]
    distances = square(n, labels).assign_coords(kind=("stimulus", labels))
    for ax in (plot.rdm(distances), plot.rdm(distances * np.nan), plot.rdm(distances * 0 + 1)):
        assert_legible(ax.get_figure(), monkeypatch)
    many = square(9 * n, None).assign_coords(kind=("stimulus", labels * 9))
    assert_legible(plot.rdm(many, "kind").get_figure(), monkeypatch)


def test_what_is_no_rdm_is_refused():
    for given, options, error, text in (
        (values(4), {}, xc.SchemaError, r"rdm needs the dims \['stimulus', 'stimulus_2'\]"),
        (np.ones((3, 3)), {}, TypeError, "rdm must be an xarray.DataArray"),
        (square(4).expand_dims(model=["u", "v"]), {}, xc.SchemaError, r"\['model'\] too.*\.sel"),
        (square(4)[:, :3], {}, xc.SchemaError, "same labels.*differ in 's3'"),
        (square(4), {"order_by": "kind"}, xc.SchemaError, "order_by='kind' must be a coordinate"),
        (square(4), {"order_by": values(3)}, xc.SchemaError, "order_by has no value for 's3'"),
    ):
        with pytest.raises(error, match=f"(?s){text}"):
            plot.rdm(given, **options)
    assert plot.rdm(square(4).expand_dims(model=["u"])).images


def test_names_find_no_room_without_a_layout(monkeypatch):
    figure, axes = plt.subplots(1, 2)
    assert plot.rsa_by_bin(by_bin(), axes[0]) is axes[0]
    names = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert names[:2] == ["u", "v"]
    assert texts_of(figure, monkeypatch)
