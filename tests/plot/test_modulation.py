"""Dispersion against alignment: what is drawn is what the results say."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr, t

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, points_of, scores, values
from xconverge.testing import planted_study

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")


MEASURES = ["consensus", "consensus_raw", "neighborhood", "rdm"]


@pytest.fixture(scope="module")
def study():
    """The groups that figures take, as analyze makes them, which takes longer."""
    sets = planted_study(n_stimuli=60, rng=0)
    agreement = xc.alignment(sets["vision"], sets["language"])
    spread = xr.concat(
        [xc.dispersion(sets["vision"], "neighborhood") ** power for power in (3, 2, 1, 0.5)],
        pd.Index(MEASURES, name="measure", dtype=object),
    )
    effects = [
        xc.modulation(one.drop_vars("measure"), agreement, null="labels", n_permutations=19, rng=0)
        for one in spread
    ]
    effect = xr.concat(effects, spread["measure"], data_vars="all", coords="minimal")
    noise = xr.Dataset(
        {"mean_correlation": -0.75, "expected_correlation": -0.25, "equal_noise_p_value": 0.2}
    )
    noise["equal_noise_p_value"].attrs["n_equal_noise"] = 4
    return xr.DataTree.from_dict(
        {
            "dispersion": xr.Dataset({"dispersion": spread}),
            "alignment": xr.Dataset({"mutual_knn": agreement}),
            "modulation": effect.expand_dims(control=["none", "norm"]),
            "equal_noise": noise,
        }
    )


@pytest.mark.slow
def test_a_study_of_analyze_is_drawn(monkeypatch):
    sets = planted_study(n_stimuli=60, rng=0)
    made = xc.analyze(
        sets, target=xc.rdm(sets["language"]).mean("model"), n_permutations=19, n_equal_noise=4,
        rng=0,
    )  # fmt: skip
    for figure in (
        plot.dispersion_alignment(made).get_figure(),
        plot.dispersion_histogram(made),
        plot.alignment_by_bin(made).get_figure(),
        plot.alignment_matrix(made, order="cluster").get_figure(),
        plot.rsa_by_bin(made).get_figure(),
        plot.consensus_map(made).get_figure(),
        plot.convergence(made).get_figure(),
    ):
        assert_legible(figure, monkeypatch)


def test_points_are_joined_by_label_and_told_by_rank():
    spread, agreement = values(40), scores(40, rng=1)
    ax = plot.dispersion_alignment(spread, agreement[..., ::-1])
    mean = agreement.mean(["model_a", "model_b"])
    np.testing.assert_allclose(points_of(ax), np.column_stack([spread, mean]))
    rho = spearmanr(spread, mean).statistic
    assert ax.get_title() == f"Spearman’s ρ = {rho:+.2f}, 40 stimuli".replace("-", "−")
    assert ax.get_ylabel() == "mean alignment (mutual kNN)"


def test_missing_values_are_no_points():
    spread, agreement = values(9), scores(9)
    spread[3] = np.nan
    agreement[0, 0, 4] = np.nan  # the other pair has it
    agreement[:, :, 5] = np.nan
    ax = plot.dispersion_alignment(spread, agreement)
    assert len(points_of(ax)) == 7
    assert ax.get_title().endswith("7 stimuli")


def test_layers_of_one_network_count_once():
    agreement = scores(9, a=("u1", "u2", "v"))
    agreement = agreement.assign_coords(network_a=("model_a", ["u", "u", "v"]))
    ax = plot.dispersion_alignment(values(9), agreement)
    layers = agreement.mean("model_b")
    expected = (layers[:2].mean("model_a") + layers[2]) / 2
    np.testing.assert_allclose(points_of(ax)[:, 1], expected)


@pytest.mark.slow
def test_the_extremes_are_named(monkeypatch):
    spread = values(300).assign_coords(word=("stimulus", [f"word {i}" for i in range(300)]))
    ax = plot.dispersion_alignment(spread, scores(300), n_named=5, names="word")
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    order = spread.argsort().values
    expected = {f"word {i}" for i in [*order[:3], *order[-2:]]}
    assert {text for text in drawn if text.startswith("word")} == expected
    with pytest.raises(xc.SchemaError, match="names='nothing'.*there is 'stimulus'"):
        plot.dispersion_alignment(spread, scores(300), names="nothing")


@pytest.mark.slow
def test_a_study_says_what_equal_noise_makes(study):
    ax = plot.dispersion_alignment(study)
    told = " ".join(ax.get_title().split())
    effect = study["modulation"].to_dataset().sel(measure="neighborhood", control="none")
    noise = study["equal_noise"].to_dataset()
    for number in (
        effect["correlation_of_mean"], noise["mean_correlation"], noise["expected_correlation"],
    ):  # fmt: skip
        assert f"{float(number):+.2f}".replace("-", "−") in told
    assert f"(p = {float(noise['equal_noise_p_value']):.1f}, 4 draws)" in told
    assert "p = 0.05 (labels)" in told
    # that is told of one measure alone
    assert "equal noise" not in plot.dispersion_alignment(study, measure="rdm").get_title()
    chance = [line for line in ax.lines if line.get_label() == "chance"]
    np.testing.assert_allclose(chance[0].get_ydata(), 10 / 59)


@pytest.mark.slow
def test_groups_of_a_study_are_taken_as_they_are(study, tmp_path):
    xc.write_study(tmp_path / "study.zarr", study)
    opened = xc.open_store(tmp_path / "study.zarr")
    for given in (study, opened):
        for one in (
            plot.dispersion_alignment(given),
            plot.dispersion_alignment(given["dispersion"], given["alignment"]),
            plot.dispersion_alignment(given["dispersion"].to_dataset(), given["alignment"]),
        ):
            np.testing.assert_allclose(
                points_of(one)[:, 0], study["dispersion/dispersion"].sel(measure="neighborhood")
            )
        assert len(plot.alignment_by_bin(given["modulation"]).containers) == 4
        assert len(plot.dispersion_histogram(given).axes) == 4


def test_what_is_no_dispersion_is_refused(study):
    spread = values(9)
    for arguments, error, text in (
        ((spread,), TypeError, "alignment is needed beside a dispersion.*analyze"),
        ((study["dispersion"],), TypeError, "alignment is needed"),
        ((spread, values(8)), xc.SchemaError, "same labels.*has 9, alignment has 8"),
        ((spread, study["modulation"]), TypeError, "alignment.*choose one of its variables"),
        ((study["modulation"], spread), xc.SchemaError, r"analyze\(…\)\['dispersion'\]"),
        ((scores(9), scores(9)), xc.SchemaError, "'stimulus' alone"),
        ((spread, scores(9).expand_dims(time=2)), xc.SchemaError, r"\['time'\] too"),
        (("store.zarr",), TypeError, "study_or_dispersion.*open_store"),
    ):
        with pytest.raises(error, match=f"(?s){text}"):
            plot.dispersion_alignment(*arguments)
    with pytest.raises(ValueError, match="measure='nothing' is not known.*choose one of consensus"):
        plot.dispersion_alignment(study, measure="nothing")
    with pytest.raises(xc.SchemaError, match="measure='rdm'.*leave measure out"):
        plot.dispersion_alignment(spread, scores(9), measure="rdm")


def test_a_histogram_counts_stimuli(study):
    spread = values(50)
    spread[:3] = np.nan
    ax = plot.dispersion_histogram(spread)
    assert sum(bar.get_height() for bar in ax.patches) == 47
    assert ax.get_title() == "47 stimuli, 3 without a value"
    np.testing.assert_allclose(ax.lines[0].get_xdata(), float(spread.median()))
    _, axes = plt.subplots()
    assert plot.dispersion_histogram(study, measure="rdm", ax=axes) is axes
    assert axes.get_xlabel() == "dispersion of RDM rows"
    with pytest.raises(TypeError, match="measures consensus.*choose one with measure="):
        plot.dispersion_histogram(study, ax=axes)


def test_intervals_are_those_of_a_mean_over_so_many_independent_stimuli():
    spread, agreement = values(60), scores(60, a=("u",))
    effect = xc.modulation(spread, agreement, null="labels", n_bins=3, n_permutations=0)
    effect["n_effective_of_mean"] = xr.DataArray(30.0)  # half of them
    ax = plot.alignment_by_bin(effect, dispersion=spread, alignment=agreement)
    (container,) = ax.containers
    segments = container[2][0].get_segments()
    mean = agreement.values[0, 0]
    bins = xc.dispersion_bins(spread, 3).values
    for number, segment in enumerate(segments):
        inside = mean[bins == number]
        half = t.ppf(0.975, 9) * inside.std(ddof=1) / np.sqrt(10)
        np.testing.assert_allclose(segment[:, 1], inside.mean() + np.array([-half, half]))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        "1 of 3\nn = 20", "2 of 3\nn = 20", "3 of 3\nn = 20",
    ]  # fmt: skip
    # without what it was made of, a table holds no interval
    (bare,) = plot.alignment_by_bin(effect).containers
    assert not bare.has_yerr


def test_chance_is_that_of_the_result():
    agreement = scores(30).assign_coords(chance=(("model_a", "model_b"), [[0.2], [0.4]]))
    effect = xc.modulation(values(30), agreement, null="labels", n_bins=2, n_permutations=0)
    drawn = [line.get_ydata()[0] for line in plot.alignment_by_bin(effect).lines[1:]]
    np.testing.assert_allclose(drawn[-1], 0.3)
    drawn = [line.get_ydata()[0] for line in plot.alignment_by_bin(effect, 0.1).lines[1:]]
    np.testing.assert_allclose(drawn[-1], 0.1)


def test_results_that_do_not_go_together_are_refused(study):
    group = study["modulation"]
    for given, options, error, text in (
        (values(9), {}, TypeError, "effects.*modulation.*DataArray"),
        ({}, {}, ValueError, "effects is empty"),
        (group, {"measure": "nothing"}, ValueError, "measure='nothing'"),
        ({"x": group}, {"measure": "rdm"}, TypeError, "effects is a dict"),
        (group, {"dispersion": study}, TypeError, "dispersion and alignment are needed together"),
        (
            group,
            {"dispersion": values(9), "alignment": study},
            ValueError,
            "of one result, and there are 4",
        ),
    ):
        with pytest.raises(error, match=f"(?s){text}"):
            plot.alignment_by_bin(given, **options)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 1, 9, 10_000])
def test_few_and_many_stimuli(n, monkeypatch):
    labels = ODD[:n] if n < 10 else None
    ax = plot.dispersion_alignment(values(n, labels), scores(n, a=ODD, labels=labels))
    assert_legible(ax.get_figure(), monkeypatch)
    assert_legible(plot.dispersion_histogram(values(n, labels)).get_figure(), monkeypatch)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("value", [1.0, np.nan])
def test_equal_and_missing_values(value, monkeypatch):
    spread = values(60) * 0 + value
    ax = plot.dispersion_alignment(spread, scores(60))
    assert "not defined" in ax.get_title()
    assert_legible(ax.get_figure(), monkeypatch)
    assert_legible(plot.dispersion_histogram(spread).get_figure(), monkeypatch)


@pytest.mark.slow
def test_figures_of_a_study_are_legible(study, monkeypatch):
    for figure in (
        plot.dispersion_alignment(study).get_figure(),
        plot.dispersion_histogram(study),
        plot.alignment_by_bin(study).get_figure(),
        plot.alignment_by_bin(study["modulation"], measure="consensus").get_figure(),
    ):
        assert_legible(figure, monkeypatch)
