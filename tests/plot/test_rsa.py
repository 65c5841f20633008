"""RSA by bin: what is drawn is what the results say."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, texts_of
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


def test_names_find_no_room_without_a_layout(monkeypatch):
    figure, axes = plt.subplots(1, 2)
    assert plot.rsa_by_bin(by_bin(), axes[0]) is axes[0]
    names = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert names[:2] == ["u", "v"]
    assert texts_of(figure, monkeypatch)
