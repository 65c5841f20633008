"""Equal values never stop a study: correlations need no bins, bins merge and say so."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

import xconverge as xc
from tests.helpers import no_compute
from xconverge.testing import planted_study

N = 36
IDS = [f"s{i}" for i in range(N)]


def patterns():
    """Predictors with ties of every kind, by name."""
    rng = np.random.default_rng(0)
    few, last = np.full(N, np.nan), rng.standard_normal(N)
    few[7] = 0.5
    last[:] = np.where(np.arange(N) < 30, np.nan, last)
    return {
        "binary": (np.arange(N) % 4 == 0).astype(float),
        "mostly one": (np.arange(N) % 4 > 0).astype(float),
        "rating": rng.choice([1.0, 2.0, 3.0], N, p=[0.6, 0.2, 0.2]),
        "zeros with a tail": np.maximum(rng.standard_normal(N), 0.3),
        "one other": (np.arange(N) == 3).astype(float),
        "rounding": np.where(np.arange(N) % 2, 0.1 + 0.2, 0.3),
        "constant": np.full(N, 2.5),
        "mostly missing": last,
        "all but one missing": few,
        "all missing": np.full(N, np.nan),
    }


PATTERNS = patterns()
CONSTANT = ["rounding", "constant", "all but one missing", "all missing"]


def some(*shown):
    """All patterns, but for these in the long tests alone."""
    return [name if name in shown else pytest.param(name, marks=pytest.mark.slow)
            for name in PATTERNS]  # fmt: skip


@pytest.fixture(scope="module")
def study():
    sets = planted_study(n_models=4, n_stimuli=N, rng=0)
    return {name: reps.assign_coords(stimulus=IDS) for name, reps in sets.items()}


@pytest.fixture(scope="module")
def agreement(study):
    return xc.alignment(*study.values(), k=5)


def predictor(name):
    values = PATTERNS[name]
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": IDS}, name="spread")


def plain_bins(values, n_bins):
    """The definition, value by value."""
    finite = values[np.isfinite(values)]
    edges = np.quantile(finite, np.linspace(0, 1, n_bins + 1)) if len(finite) else []
    near = 1e-9  # equal but for rounding
    return [
        next(b for b in range(n_bins) if value <= edges[b + 1] + near) if np.isfinite(value) else -1
        for value in values
    ]


@pytest.mark.slow_after(5)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "n_bins"), [*((name, 3) for name in PATTERNS), ("binary", 2), ("rating", 5)]
)
def test_a_correlation_is_spearmans_whatever_the_bins(name, n_bins, agreement):
    x, agreement = predictor(name), agreement[2:, 1:2]
    found = xc.modulation(x, agreement, n_bins=n_bins, n_permutations=19, rng=0, null="labels")
    bins = np.array(plain_bins(x.values, n_bins))
    for i, j in np.ndindex(2, 1):
        y = agreement.values[i, j]
        there = np.isfinite(x.values)
        if name in CONSTANT:
            assert np.isnan(found["correlation"][i, j])
            assert np.isnan(found["p_value"][i, j])
        else:
            expected = spearmanr(x.values[there], y[there]).statistic
            assert float(found["correlation"][i, j]) == pytest.approx(expected, abs=1e-12)
            assert float(found["p_value"][i, j]) > 0
        means = [y[bins == b].mean() if (bins == b).any() else np.nan for b in range(n_bins)]
        np.testing.assert_allclose(found["alignment_by_bin"][i, j], means)
    empty = [b for b in range(n_bins) if not (bins == b).any()]
    assert found.attrs.get("merged_bins", []) == empty


@pytest.mark.parametrize("name", PATTERNS)
def test_merged_bins_are_said(name):
    x = predictor(name)
    bins = np.array(plain_bins(x.values, 3))
    empty = [b for b in range(3) if not (bins == b).any()]
    if not empty:
        assert "merged_bins" not in xc.dispersion_bins(x).attrs
        return
    with pytest.warns(RuntimeWarning, match=f"3 quantile bins.*{empty[0] + 1} of 3.*merged"):
        found = xc.dispersion_bins(x)
    np.testing.assert_array_equal(found, bins)
    assert found.attrs["merged_bins"] == empty
    assert len(found.attrs["edges"]) == 4


def test_a_lazy_predictor_warns_when_it_is_computed(agreement):
    x = predictor("rating").chunk(stimulus=10)
    with no_compute():
        lazy = xc.modulation(x, agreement, n_bins=3, n_permutations=0, null="labels")
    with pytest.warns(RuntimeWarning, match="merged"):
        lazy = lazy.compute(scheduler="synchronous")
    with pytest.warns(RuntimeWarning, match="merged"):
        eager = xc.modulation(x.compute(), agreement, n_bins=3, n_permutations=0, null="labels")
    xr.testing.assert_allclose(lazy, eager)
    assert eager["correlation"].attrs["merged_bins"] == eager.attrs["merged_bins"] == [1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", some("binary", "mostly one"))
def test_rsa_by_bin(name, study):
    x, brain = predictor(name), xc.rdm(study["language"]).mean("model")
    found = xc.binned_rsa(study["vision"], brain, x, n_permutations=19, rng=0)
    bins = np.array(plain_bins(x.values, 3))
    np.testing.assert_array_equal(found["n_stimuli"], [(bins == b).sum() for b in range(3)])
    models = xc.rdm(study["vision"]).mean("model")
    value = np.full(3, np.nan)
    for b in range(3):
        inside = np.flatnonzero(bins == b)
        if len(inside) > 2:
            i, j = np.triu_indices(len(inside), 1)
            sides = (side.values[np.ix_(inside, inside)][i, j] for side in (models, brain))
            value[b] = spearmanr(*sides).statistic
    np.testing.assert_allclose(found["rsa"], value, atol=1e-12)
    assert found.sizes["bin"] == 3
    table = xc.binned_rsa_contrast(
        study["vision"], brain, x, n_permutations=19, rng=0, null="labels"
    )
    held = [b for b in range(3) if (bins == b).any()]
    if len(held) < 2 or np.isnan(value[held]).any():
        assert table["trend"].isnull()
        assert table["low_minus_high"].isnull()
        return
    assert float(table["low_minus_high"]) == pytest.approx(value[held[0]] - value[held[-1]])
    assert float(table["trend"]) == pytest.approx(np.polyfit(held, value[held], 1)[0])
    assert 0 < float(table["trend_p_value"]) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", some("binary"))
def test_selections_and_contrasts_are_delivered(name, study, agreement):
    x, (vision, language) = predictor(name), study.values()
    call = {"size": 5, "n_random": 9, "k": 3, "rng": 0}
    low = xc.subset_contrast(x, vision, language, **call, null="labels")["score"].sel(pool="full")
    enough = np.isfinite(x.values).sum() >= 10 and name not in CONSTANT
    assert bool(low.notnull().all()) == enough
    matched = xc.subset_contrast(vision["noise"], vision, language, match=x, **call, null="labels")
    assert "matched" in matched["control"].values
    brain = language.isel(model=[0]).rename(model="subject")
    with_bins = xc.select_models(vision, brain, x, n_permutations=9, n_draws=99, rng=0)
    assert with_bins["rsa"].sel(subset="all").notnull().all()
    score = agreement.mean(["model_b", "stimulus"]).rename(model_a="model")
    table = xc.cross_modal_prediction(agreement, x, score, n_permutations=9, rng=0, null="labels")
    assert float(table["correlation"].sel(subset="all")) == pytest.approx(1)
    bins = np.array(plain_bins(x.values, 3))
    held = [bool((bins == b).any()) and name not in CONSTANT for b in range(3)]
    held = held if sum(held) > 1 else [False] * 3
    assert table["gain"].notnull().values.tolist() == [True, *held]
    # which stimuli there are to choose among: those with a value
    n = min(6, int(np.isfinite(x.values).sum()))
    if n:
        chosen = xc.select_stimuli(x.fillna(np.nan), n, "low")
        assert chosen.sizes["stimulus"] == n
        assert xc.exclude_high_dispersion(x, x, 0.2, missing="keep").sizes["stimulus"] > 0
        near = xc.select_stimuli(vision["noise"].reset_coords(drop=True), n, match=x)
        assert near.sizes["stimulus"] == n


@pytest.mark.slow
def test_what_was_matched_by_fewer_bins_is_said(study):
    noise = study["vision"]["noise"].reset_coords(drop=True)
    with pytest.warns(RuntimeWarning, match="match spread.*merged"):
        chosen = xc.select_stimuli(noise, 8, match=predictor("mostly one"), match_bins=2)
    assert chosen.attrs["merged_bins"] == {"spread": [1]}
    with pytest.warns(RuntimeWarning, match="match spread.*merged"):
        xc.subset_contrast(
            noise,
            *study.values(),
            match=predictor("mostly one"),
            size=8,
            n_random=3,
            k=3,
            rng=0,
            null="labels",
        )


def test_equal_dispersions_make_no_selection_by_them_in_silence(study):
    with pytest.warns(RuntimeWarning, match="equal.*order of labels"):
        xc.select_stimuli(predictor("constant"), 5, "high")
    with pytest.warns(RuntimeWarning, match="all dispersions are equal"):
        xc.subset_contrast(
            predictor("constant"), *study.values(), size=5, n_random=3, k=3, null="labels"
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_four_models_that_are_left_out_by_turns():
    a, b = planted_study(4, 24, noise=(0.1, 0.3), rng=0).values()
    found = xc.leave_out_modulation(
        a, b, k=2, n_bins=5, n_permutations=19, rng=0, nuisance=(), null="labels"
    )
    assert found["correlation"].notnull().all()
    spread = xc.dispersion(a, "neighborhood", k=2, leave_out="model")
    agreement = xc.alignment(a, b, k=2)
    for i, j in np.ndindex(4, 2):
        expected = spearmanr(np.round(spread[i], 12), agreement[i, j]).statistic
        assert float(found["correlation"][i, j]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_study_of_two_models_on_each_side_is_delivered():
    rng = np.random.default_rng(0)
    sets = {
        modality: xc.stack_models(
            {f"{modality} {m}": rng.standard_normal((60, 20 + m)) for m in range(2)},
            stimuli=[f"image {i}" for i in range(60)],
        )
        for modality in ("vision", "language")
    }
    study = xc.analyze(sets, target=sets["language"], n_permutations=9, rng=0, n_equal_noise=0)
    effect = study["modulation"].to_dataset()
    assert effect["correlation"].notnull().all()
    assert effect.sizes["bin"] == 5
    spread = study["dispersion/dispersion"].sel(measure="neighborhood")
    mean = study["alignment/mutual_knn"].mean(["model_a", "model_b"])
    expected = spearmanr(np.round(spread, 12), np.round(mean, 12)).statistic
    found = effect["correlation_of_mean"].sel(measure="neighborhood", control="none")
    assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_figures_draw_what_is_left(study, agreement):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    for name in ("binary", "mostly one"):
        effect = xc.modulation(
            predictor(name), agreement[:1, :1], n_bins=3, n_permutations=0, null="labels"
        )
        ax = xc.plot.alignment_by_bin({name: effect})
        count = int(effect["alignment_by_bin_of_mean"].notnull().sum())
        assert len(ax.lines[0].get_xdata()) == count
        assert len(ax.get_xticks()) == 3
    brain = xc.rdm(study["language"]).mean("model")
    found = xc.binned_rsa(study["vision"], brain, predictor("binary"), n_permutations=9, rng=0)
    table = xr.Dataset(
        {
            "rsa_by_bin": found["rsa"].expand_dims(model_a=["one"]),
            "rsa_of_mean_by_bin": found["rsa"],
            "p_value_of_mean_by_bin": found["p_value"],
            "n_stimuli": found["n_stimuli"],
        }
    )
    ax = xc.plot.rsa_by_bin(table)
    assert [len(line.get_xdata()) for line in ax.lines[:2]] == [2, 2]
    assert len(ax.texts) == 2
