"""Generalised Procrustes against truth known by construction."""

import numpy as np
import pytest
import xarray as xr
from scipy.linalg import orthogonal_procrustes
from scipy.stats import f_oneway

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.engine.folds import fold_numbers
from xconverge.testing import planted_study


def rotation(rng, width):
    return np.linalg.qr(rng.standard_normal((width, width)))[0]


def copies(n_models=4, n=60, width=5, noise=0.0, seed=0):
    """One matrix, rotated, scaled and shifted for each model; and that matrix."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width))
    x -= x.mean(0)
    models = {
        f"net{m}": (m + 1) * x @ rotation(rng, width)
        + 10 * rng.standard_normal(width)
        + noise * rng.standard_normal((n, width))
        for m in range(n_models)
    }
    return xc.stack_models(models, stimuli=[f"s{i}" for i in range(n)]), x


@pytest.mark.parametrize("options", [{}, {"start": "net2"}, {"n_components": 5}])
def test_rotated_copies_come_back_as_one(options):
    reps, x = copies()
    space = xc.shared_space(reps, **options)
    x = x / np.linalg.norm(x)
    back, _ = orthogonal_procrustes(space["consensus"].values, x)
    np.testing.assert_allclose(space["consensus"].values @ back, x, atol=1e-10)
    assert float(space["residual"].max()) < 1e-10
    assert float(space["unexplained"]) < 1e-20


@pytest.mark.parametrize("missing", [[], [(0, 3), (1, 3), (2, 9)]])
def test_the_objective_never_rises_and_is_the_residual(missing):
    reps = make_reps(4, 30, [6, 5, 4, 6], missing=missing, noise=1.0)
    space = xc.shared_space(reps)
    assert (np.diff(space["objective"]) <= 1e-12).all()
    total = float((space["residual"] ** 2).sum())
    assert float(space["objective"][-1]) == pytest.approx(total, rel=1e-10)


def test_two_models_reach_the_closed_form():
    reps = make_reps(2, 25, 4, noise=2.0)
    x, y = (m - m.mean(0) for m in reps.values)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    nuclear = np.linalg.svd(x.T @ y, compute_uv=False).sum()
    space = xc.shared_space(reps, tolerance=1e-14)
    assert float(space["objective"][-1]) == pytest.approx((2 - 2 * nuclear) / 2, rel=1e-8)


def test_aligned_is_the_map_of_the_features():
    reps = make_reps(3, 20, [6, 4, 5], noise=1.0)
    space = xc.shared_space(reps, n_components=3)
    for name in reps["model"].values:
        one = space.sel(model=name)
        width = int(reps["n_features"].sel(model=name))
        x = reps.sel(model=name).values[:, :width] - one["center"].values[:width]
        mapped = x @ one["rotation"].values[:width] / float(one["scale"])
        np.testing.assert_allclose(mapped, one["aligned"], atol=1e-12)


def test_consensus_dispersion_is_the_root_of_summed_residuals():
    reps = make_reps(3, 20, [6, 4, 5], noise=1.0, missing=[(1, 4)])
    space = xc.shared_space(reps)
    spread = xc.dispersion(space["aligned"], "consensus")
    expected = np.sqrt((space["residual"] ** 2).sum("model") / (spread["n_models"] - 1))
    np.testing.assert_allclose(spread, expected, rtol=1e-10)


def test_order_of_stimuli_changes_no_bit():
    reps = make_reps(3, 20, [6, 4, 5], noise=1.0)
    space = xc.shared_space(reps)
    again = xc.shared_space(shuffled(reps)).sel(stimulus=reps["stimulus"].values)
    xr.testing.assert_equal(again["aligned"], space["aligned"])


def test_missing_stimuli_are_nan_and_cost_the_others_little():
    reps, _x = copies(n=60)
    holes = reps.copy()
    holes[0, 5] = holes[1, :20] = holes[:, 30] = np.nan
    space = xc.shared_space(holes, tolerance=1e-13)
    assert space["aligned"][0, 5].isnull().all()
    assert space["consensus"][30].isnull().all()
    assert float(space["residual"].max()) < 1e-2
    assert int(space["residual"].isnull().sum()) == 1 + 20 + 4


def test_restarts_never_do_worse_and_follow_rng():
    reps = make_reps(4, 40, 8, noise=3.0, seed=3)
    once = xc.shared_space(reps)["objective"][-1]
    many = [xc.shared_space(reps, n_restarts=5, rng=0)["objective"][-1] for _ in range(2)]
    assert float(many[0]) <= float(once)
    assert float(many[0]) == float(many[1])


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("width", "expected"), [(32, 0.62), (128, 0.48)])
def test_independent_models_over_fit_as_documented(width, expected):
    rng = np.random.default_rng(0)
    models = {f"{m}": rng.standard_normal((512, width)) for m in range(4)}
    reps = xc.stack_models(models, stimuli=[f"s{i}" for i in range(512)])
    space = xc.shared_space(reps, tolerance=1e-6)
    assert float(space["unexplained"]) == pytest.approx(expected, abs=0.015)


def test_more_components_than_stimuli_warn():
    reps = make_reps(3, 6, 8)
    with pytest.warns(RuntimeWarning, match="6 components for 6 stimuli"):
        xc.shared_space(reps)


def test_stopping_early_warns():
    with pytest.warns(RuntimeWarning, match="stopped after 2 iterations"):
        xc.shared_space(make_reps(4, 30, 6, noise=2.0), max_iterations=2)


def test_coordinates_and_marks():
    reps = make_reps(3, 20, [6, 4, 5])
    space = xc.shared_space(reps)
    assert space["aligned"].attrs["space"] == "shared"
    assert space["aligned"].dims == ("model", "stimulus", "component")
    assert {"family", "caption", "category"} <= set(space["aligned"].coords)
    assert "n_features" not in space.coords
    xc.dispersion(space["aligned"])


def test_more_components_than_a_model_has():
    space = xc.shared_space(make_reps(3, 20, [6, 2, 4], noise=0.1), n_components=5)
    assert space.sizes["component"] == 5
    assert np.isfinite(space["aligned"]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r[:1], "at least 2 models.*'net0'"),
        (lambda r: r.expand_dims(layer=2), "layer.*stack"),
        (lambda r: xr.where(r["model"] == "net1", 1.0, r, keep_attrs=True), "'net1'.*same vector"),
    ],
)
def test_what_has_no_shared_space_is_refused(change, words):
    reps = make_reps(3, 12, 4)
    changed = change(reps)
    if set(reps.dims) <= set(changed.dims) and changed.ndim == 3:
        changed = changed.transpose(*reps.dims)
    with pytest.raises(xc.SchemaError, match=words):
        xc.shared_space(changed)


def test_faulty_rows_and_absent_models_are_named():
    reps = make_reps(3, 12, 4)
    faulty = reps.copy()
    faulty.loc[{"model": "net1", "stimulus": "s4"}][0] = np.inf
    with pytest.raises(xc.SchemaError, match="infinity.*'net1'.*'s4'"):
        xc.shared_space(faulty)
    gone = reps.copy()
    gone[2] = np.nan
    with pytest.raises(xc.SchemaError, match="'net2'.*saw no stimulus"):
        xc.shared_space(gone)
    with pytest.raises(ValueError, match="start='net9'"):
        xc.shared_space(reps, start="net9")


def test_inputs_are_untouched_by_the_mean_of_four_rotated_copies():
    reps, x = copies(4)
    before = reps.copy(deep=True)
    space = xc.shared_space(reps)
    xr.testing.assert_identical(reps, before)
    x = x / np.linalg.norm(x)
    back, _ = orthogonal_procrustes(space["consensus"].values, x)
    np.testing.assert_allclose(space["consensus"].values @ back, x, atol=1e-10)
    assert float(xc.shared_space(reps, folds=5, rng=0)["unexplained_heldout"]) < 1e-20
    xr.testing.assert_identical(reps, before)


def independent(n, width, models=4):
    rng = np.random.default_rng(0)
    return xc.stack_models(
        {f"m{m}": rng.standard_normal((n, width)) for m in range(models)},
        stimuli=[f"s{i}" for i in range(n)],
    )


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore:.*rotations over-fit")
@pytest.mark.parametrize(("width", "in_sample"), [(15, 0.62), (60, 0.48), (240, 0.2), (720, 0.06)])
def test_independent_models_are_unexplained_on_held_out_stimuli(width, in_sample):
    space = xc.shared_space(independent(240, width), folds=4, tolerance=1e-3, rng=0)
    assert float(space["unexplained_heldout"]) == pytest.approx(0.75, abs=0.01)
    assert float(space["unexplained"]) == pytest.approx(in_sample, abs=0.03)
    for name in ("unexplained", "unexplained_heldout"):
        assert space[name].attrs["chance"] == 0.75


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("n_components", [None, 3])
@pytest.mark.parametrize("missing", [[], [(0, 3), (1, 9)]])
def test_a_fold_knows_of_its_stimuli_the_scale_of_models_alone(n_components, missing):
    reps = make_reps(3, 40, [6, 4, 5], noise=0.5, missing=missing)
    options = {"n_components": n_components, "folds": 4, "rng": 1}
    space = xc.shared_space(reps, **options)
    fold = fold_numbers(reps, 4, rng=np.random.default_rng(1)).values
    part = xc.shared_space(reps.isel(stimulus=fold != 2), n_components=n_components)
    placed = xc.transform(reps.isel(stimulus=fold == 2), part).values
    mine = space["aligned"].isel(stimulus=fold == 2).values
    # the same places but for one turn of all models and the scale of each
    placed *= (part["scale"] / space["scale"]).values[:, None, None]
    seen = ~np.isnan(mine[..., 0])
    turn, _ = orthogonal_procrustes(placed[seen], mine[seen])
    np.testing.assert_allclose(placed[seen] @ turn, mine[seen], atol=1e-9)


def norms_differ(rng, n=100, models=4, tail=1.0):
    """Copies of latents with log-normal norms, turned, and noise of one size."""
    x = rng.standard_normal((n, 5)) * np.exp(tail * rng.standard_normal((n, 1)))
    nets = {
        f"m{m}": x @ rotation(rng, 8)[:5] + 0.3 * rng.standard_normal((n, 8)) for m in range(models)
    }
    return xc.stack_models(nets, stimuli=[f"s{i}" for i in range(n)])


def held_out_by_fold(reps, seed):
    """Dispersion of the stimuli of every fold."""
    space = xc.shared_space(reps, folds=5, rng=seed, tolerance=1e-5)
    fold = fold_numbers(reps, 5, rng=np.random.default_rng(seed)).values
    spread = xc.dispersion(space["aligned"], "consensus").values
    return fold, [spread[fold == number] for number in range(5)]


def test_one_long_stimulus_makes_its_fold_no_larger():
    reps = norms_differ(np.random.default_rng(0), tail=0.0)
    reps[:, 7] *= 20
    fold, parts = held_out_by_fold(reps, 0)
    parts[fold[7]] = np.sort(parts[fold[7]])[:-1]
    means = [part.mean() for part in parts]
    assert max(means) < 1.35 * min(means)  # 1.9 where each fold has the norm of what it knows


@pytest.mark.slow
def test_folds_have_one_scale():
    rejected = 0
    for run in range(120):
        _, parts = held_out_by_fold(norms_differ(np.random.default_rng(run)), run)
        rejected += f_oneway(*parts).pvalue < 0.05
    assert rejected / 120 < 0.1


def test_folds_lie_in_the_frame_of_all_stimuli():
    reps = make_reps(4, 80, 6, noise=0.1)
    plain, crossed = xc.shared_space(reps), xc.shared_space(reps, folds=5, rng=0)
    gap = np.linalg.norm(plain["consensus"] - crossed["consensus"])
    assert gap < 0.1 * np.linalg.norm(plain["consensus"])
    assert float(crossed["unexplained_heldout"]) > float(plain["unexplained"])
    xr.testing.assert_equal(plain["rotation"].drop_attrs(), crossed["rotation"].drop_attrs())


@pytest.mark.slow
def test_folds_follow_labels_and_groups():
    reps = make_reps(3, 30, [6, 4, 5], noise=1.0, missing=[(0, 3)])
    for options in ({}, {"groups": "category"}):
        space = xc.shared_space(reps, folds=3, rng=0, **options)
        again = xc.shared_space(shuffled(reps), folds=3, rng=0, **options)
        again = again.sel(stimulus=reps["stimulus"].values)
        xr.testing.assert_allclose(again["aligned"], space["aligned"], atol=1e-12)
        assert int(space["aligned"].isnull().any("component").sum()) == 1
    with pytest.raises(ValueError, match="folds must be .* 2 at least, got folds=1"):
        xc.shared_space(reps, folds=1)


def test_transform_of_the_fitted_stimuli_is_aligned():
    reps = make_reps(3, 20, [6, 4, 5], noise=1.0, missing=[(1, 4), (0, 2)])
    for options in ({}, {"n_components": 3}):
        space = xc.shared_space(reps, **options)
        with no_compute():
            lazy = xc.transform(reps.chunk(model=1, stimulus=7)[::-1], space)
        assert lazy.attrs["space"] == "shared"
        found = lazy.compute().sel(model=reps["model"])
        np.testing.assert_allclose(found, space["aligned"], atol=1e-12)


def test_transform_refuses_other_models_and_widths():
    reps = make_reps(3, 20, [6, 4, 5], noise=1.0)
    space = xc.shared_space(reps)
    with pytest.raises(xc.SchemaError, match="no model 'other'; it was fitted to 'net0'"):
        xc.transform(reps.assign_coords(model=["net0", "net1", "other"]), space)
    with pytest.raises(xc.SchemaError, match="fitted to '5' features of 'net2', reps has '4'"):
        xc.transform(reps.assign_coords(n_features=("model", [6, 4, 4])), space)
    faulty = reps.copy(deep=True)
    faulty[1, 2, 0] = np.inf
    with pytest.raises(xc.SchemaError, match="'net1', stimulus"):
        xc.transform(faulty, space)


def test_fewer_stimuli_than_features_lose_nothing():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 50))
    ids = [f"s{i}" for i in range(20)]
    reps = xc.stack_models({f"m{i}": x @ rotation(rng, 50) for i in range(3)}, stimuli=ids)
    with pytest.warns(RuntimeWarning, match="over-fit"):
        space = xc.shared_space(reps)
    assert space.sizes["component"] == 20
    x -= x.mean(0)
    gram = space["consensus"].values @ space["consensus"].values.T
    np.testing.assert_allclose(gram, x @ x.T / np.linalg.norm(x) ** 2, atol=1e-12)


@pytest.mark.slow
def test_one_space_for_each_family():
    reps = make_reps(5, 40, [6, 5, 4, 6, 3], noise=1.0)
    space = xc.shared_space(reps, by="family", folds=4, rng=0)
    assert list(space["family_group"].values) == ["family0", "family1"]
    assert list(space["model"].values) == list(reps["model"].values)
    spread = xc.dispersion(space["aligned"], "consensus", by="family")
    for family in ("family0", "family1"):
        members = reps["family"].values == family
        alone = xc.shared_space(reps.isel(model=members), folds=4, rng=0)
        mine = space["unexplained"].sel(family_group=family)
        assert float(mine) == pytest.approx(float(alone["unexplained"]), rel=1e-12)
    assert spread.dims == ("family", "stimulus")
    first = reps.isel(model=reps["family"].values == "family0")
    alone = xc.dispersion(xc.shared_space(first, folds=4, rng=0)["aligned"], "consensus")
    np.testing.assert_allclose(spread.sel(family="family0"), alone, rtol=1e-9)
    with pytest.warns(xc.UnalignedSpaceWarning):
        xc.dispersion(space["aligned"], "consensus")


def test_families_that_cannot_be_aligned_are_named():
    reps = make_reps(3, 20, 4)
    with pytest.raises(xc.SchemaError, match="'genus' must be a coordinate on 'model'.*'family'"):
        xc.shared_space(reps, by="genus")
    with pytest.raises(xc.SchemaError, match="at least 2 models, got 'net1'"):
        xc.shared_space(reps, by="family")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("options", [{"folds": 3}, {"n_restarts": 2}, {"folds": 3, "by": "family"}])
def test_a_random_space_says_the_seed_that_makes_it_again(options):
    reps = make_reps(4, 24, 5, noise=2.0)
    space = xc.shared_space(reps, **options)
    seeds = {space.attrs["seed"], *(space[name].attrs["seed"] for name in space)}
    assert len(seeds) == 1
    xr.testing.assert_identical(xc.shared_space(reps, rng=seeds.pop(), **options), space)
    other = xc.shared_space(reps, rng=np.random.default_rng(3), **options)
    again = xc.shared_space(reps, rng=np.random.default_rng(3), **options)
    xr.testing.assert_identical(again, other)
    assert "seed" not in xc.shared_space(reps).attrs


def test_results_say_how_their_input_was_paired():
    reps = make_reps(3, 20, 5).assign_attrs(pair_on="image_id", n_dropped=2)
    space = xc.shared_space(reps)
    placed = xc.transform(reps, space)
    odd = xc.residual_component(space["residual"])
    for result in (space, *space.values(), placed, odd, xc.stimulus_norm(reps), xc.center(reps)):
        assert result.attrs["pair_on"] == "image_id"
        assert result.attrs["n_dropped"] == 2


# --- what the residuals of the models have in common


def test_the_component_is_that_of_a_plain_decomposition():
    study = planted_study(n_models=5, rng=0)
    space = xc.shared_space(study["vision"])
    odd = xc.residual_component(space["residual"])
    x = space["residual"].values.T
    values, axes = np.linalg.eigh(np.cov(x.T))
    scores = (x - x.mean(0)) @ axes[:, -1]
    total = np.sqrt((x**2).sum(1))
    scores *= np.sign(np.corrcoef(scores, total)[0, 1])
    np.testing.assert_allclose(odd, scores, atol=1e-12)
    assert odd.attrs["explained"] == pytest.approx(values[-1] / values.sum())
    assert np.corrcoef(odd, xc.dispersion(space["aligned"], "consensus"))[0, 1] > 0.9
    again = xc.residual_component(shuffled(space["residual"]).chunk(stimulus=7))
    xr.testing.assert_allclose(again.sel(stimulus=odd["stimulus"]), odd)
    both = {"component": odd, "consensus": xc.dispersion(space["aligned"], "consensus")}
    chosen = xc.select_stimuli(both, 20, "high")
    assert float(chosen["overlap"][0, 1]) > 0.5


def test_a_component_of_too_little():
    residual = xr.DataArray(
        np.abs(np.random.default_rng(0).standard_normal((3, 6))),
        dims=("model", "stimulus"),
        coords={"model": list("abc"), "stimulus": [f"s{i}" for i in range(6)]},
    )
    hole = residual.copy()
    hole[1, 2] = np.nan
    found = xc.residual_component(hole)
    assert found.isnull().values.tolist() == [False, False, True, False, False, False]
    for few in (hole[:, 1:4], residual * 0 + 1):
        with pytest.warns(RuntimeWarning, match="at least 3 stimuli"):
            assert xc.residual_component(few).isnull().all()
    with pytest.raises(xc.SchemaError, match="at least 2 models"):
        xc.residual_component(residual[:1])
    with pytest.raises(xc.SchemaError, match="'layer'"):
        xc.residual_component(residual.expand_dims(layer=2))
