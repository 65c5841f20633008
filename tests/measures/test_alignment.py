"""Alignment measures of a model pair: formulas, independent packages, known truths and faults."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes, subspace_angles
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge.engine.folds import fold_numbers
from xconverge.engine.measure import INVARIANCES
from xconverge.kernels.ridge import PENALTIES
from xconverge.measures import dispersion
from xconverge.measures.alignment import MEASURES
from xconverge.measures.rdm import DISTANCES, METHODS

PAIRS = [name for name, row in MEASURES.items() if row.per == "model pair"]
K = 3


def two_sides(n=24, missing=(), dtype=np.float64):
    a = make_reps(2, n, [5, 7], seed=1, shared=False, missing=list(missing), dtype=dtype)
    b = make_reps(3, n, [6, 4, 5], seed=2, shared=False, noise=1.0, dtype=dtype)
    b = b.drop_vars(["category", "caption"])
    b = b.assign_coords(stimulus=a["stimulus"].values, model=["x", "y", "z"])
    common = a.isel(model=0, feature=slice(0, 4)).fillna(0).values
    b[:, :, :4] += 2 * common
    return a, shuffled(b, 3)


def one_pair(n=24, dtype=np.float64):
    a, b = two_sides(n, dtype=dtype)
    a, b = a.isel(model=[1]), b.isel(model=[0])
    b = b.sel(stimulus=a["stimulus"].values)
    return a, b, a.values[0].astype(np.float64), b.values[0, :, :6].astype(np.float64)


def lists(x, labels):
    return oracles.neighbors(x, labels, K)


TOLERANCE = {np.float64: 1e-10, np.float32: 2e-5}


# formulas


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_its_formula(kernel, debiased, dtype):
    a, b, x, y = one_pair(dtype=dtype)
    k, m = (oracles.rbf(x), oracles.rbf(y)) if kernel == "rbf" else (x @ x.T, y @ y.T)
    expected = oracles.cka(k, m, oracles.hsic if debiased else oracles.biased_hsic)
    found = xc.alignment(a, b, "cka", kernel=kernel, debiased=debiased)
    assert float(found[0, 0]) == pytest.approx(expected, abs=TOLERANCE[dtype])


def test_the_width_of_an_rbf_kernel():
    a, b, x, y = one_pair()
    expected = oracles.cka(oracles.rbf(x, 0.5), oracles.rbf(y, 0.5))
    found = xc.alignment(a, b, "cka", kernel="rbf", sigma=0.5)
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-10)


def test_more_features_than_stimuli_change_no_kernel():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(15)]
    x, y = rng.standard_normal((15, 40)), rng.standard_normal((15, 9))
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    expected = oracles.cka(x @ x.T, y @ y.T)
    assert float(xc.alignment(a, b, "cka")[0, 0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("centered", [False, True])
def test_cknna_is_its_formula_in_both_readings(centered, dtype):
    a, b, x, y = one_pair(dtype=dtype)
    labels = a["stimulus"].values
    expected = oracles.cknna(x, y, lists(x, labels), lists(y, labels), centered)
    found = xc.alignment(a, b, "cknna", k=K, centered=centered)
    assert float(found[0, 0]) == pytest.approx(expected, abs=TOLERANCE[dtype])
    assert xc.alignment(a, b, "cknna", k=K).attrs["centered"] == 0


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_family_of_neighbors(dtype):
    a, b, x, y = one_pair(dtype=dtype)
    labels = a["stimulus"].values
    mine, theirs = lists(x, labels), lists(y, labels)
    n = len(mine)
    expected = {
        "cycle_knn": sum(any(i in mine[j] for j in theirs[i]) for i in range(n)) / n,
        "lcs_knn": np.mean(
            [oracles.common_subsequence(*p) / K for p in zip(mine, theirs, strict=True)]
        ),
        "edit_distance_knn": np.mean(
            [1 - oracles.levenshtein(*p) / K for p in zip(mine, theirs, strict=True)]
        ),
    }
    for metric, value in expected.items():
        assert float(xc.alignment(a, b, metric, k=K)[0, 0]) == pytest.approx(value, abs=1e-12)


def test_single_precision_finds_the_neighbors_of_double():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((40, 64))
    x = np.repeat(base, 8, axis=0) + 1e-5 * rng.standard_normal((320, 64))
    a = xc.stack_models({"x": x.astype(np.float32)}, stimuli=[f"s{i}" for i in range(320)])
    exact = a.astype(np.float64)
    for metric in ("lcs_knn", "mutual_knn"):
        assert float(xc.alignment(a, exact, metric, k=K).mean()) == 1.0


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_procrustes_is_the_angle_of_scipys_rotation(dtype):
    a, b, x, y = one_pair(dtype=dtype)
    x, y = x - x.mean(0), np.pad(y - y.mean(0), ((0, 0), (0, 1)))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    _, nuclear = orthogonal_procrustes(x, y)
    found = xc.alignment(a, b, "procrustes")
    assert float(found[0, 0]) == pytest.approx(np.arccos(nuclear), abs=1e-6)
    assert found.attrs["kind"] == "distance"
    assert found.attrs["units"] == "radian"


def test_small_angles_keep_their_digits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    x -= x.mean(0)
    gap = rng.standard_normal((50, 4))
    gap -= gap.mean(0)
    gap -= x @ np.linalg.lstsq(x, gap, rcond=None)[0]
    ids = [f"s{i}" for i in range(50)]
    for angle in (1e-3, 1e-6, 1e-9):
        y = x / np.linalg.norm(x) * np.cos(angle) + gap / np.linalg.norm(gap) * np.sin(angle)
        a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
        assert float(xc.alignment(a, b, "procrustes")[0, 0]) == pytest.approx(angle, rel=1e-5)


def standard(x):
    return (x - x.mean(0)) / x.std(0)


def leading(x, c):
    return np.linalg.svd(x, full_matrices=False)[0][:, :c]


def test_svcca_in_sample_is_the_cosine_of_scipys_angles():
    a, b, x, y = one_pair()
    angles = subspace_angles(leading(standard(x), 3), leading(standard(y), 3))
    found = xc.alignment(a, b, "svcca", n_components=3, folds=None)
    assert float(found[0, 0]) == pytest.approx(np.cos(angles).mean(), abs=1e-10)


def test_svcca_held_out_is_scikit_learns_cca_of_each_fold():
    a, b, x, y = one_pair(60)
    fold = fold_numbers(a, 4, "stimulus", rng=_seed(5)).values
    values = []
    for number in range(4):
        train, test = fold != number, fold == number
        parts = []
        for rows in (x, y):
            z = (rows - rows[train].mean(0)) / rows[train].std(0)
            axes = np.linalg.svd(z[train], full_matrices=False)[2][:2].T
            parts.append(z @ axes)
        cca = CCA(2, scale=False, tol=1e-14, max_iter=20_000)
        cca.fit(parts[0][train], parts[1][train])
        u, v = cca.transform(parts[0][test], parts[1][test])
        values += [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2)]
    found = xc.alignment(a, b, "svcca", n_components=2, folds=4, rng=5)
    assert float(found[0, 0]) == pytest.approx(np.mean(values), abs=1e-5)


def _seed(rng):
    return int(np.random.default_rng(rng).integers(2**63))


def nested_ridge(x, y, fold):
    """Held-out predictions and baselines with scikit-learn, in plain loops."""
    predicted, baseline = np.empty_like(y), np.empty_like(y)
    x, y = x - x.mean(0), y - y.mean(0)

    def fit(train, test, share):
        spread = np.linalg.eigvalsh(np.cov(x[train].T, ddof=0) * train.sum()).mean()
        model = Ridge(alpha=share * spread, solver="svd").fit(x[train], y[train])
        return model.predict(x[test])

    for one in np.unique(fold):
        errors = []
        for share in PENALTIES:
            gaps = [
                y[fold == other] - fit((fold != one) & (fold != other), fold == other, share)
                for other in np.unique(fold)
                if other != one
            ]
            errors.append(sum((gap**2).sum() for gap in gaps))
        predicted[fold == one] = fit(fold != one, fold == one, PENALTIES[np.argmin(errors)])
        baseline[fold == one] = y[fold != one].mean(0)
    return y, predicted, baseline


@pytest.mark.parametrize("groups", [None, "category"])
def test_linear_predictivity_is_scikit_learns_nested_ridge(groups):
    a, b, x, y = one_pair(40)
    folds = 3 if groups else 4
    fold = fold_numbers(a, folds, "stimulus", groups, rng=_seed(0)).values
    y, predicted, baseline = nested_ridge(x, y, fold)
    gap, guess = y - baseline, predicted - baseline
    r = np.mean([np.corrcoef(gap[:, i], guess[:, i])[0, 1] for i in range(y.shape[1])])
    r2 = 1 - ((y - predicted) ** 2).sum() / ((y - baseline) ** 2).sum()
    for score, expected in (("r", r), ("r2", r2)):
        options = {"score": score, "folds": folds, "groups": groups}
        found = xc.alignment(a, b, "linear_predictivity", **options)
        assert float(found[0, 0]) == pytest.approx(expected, abs=1e-8)


def test_groups_are_held_out_together():
    a, _ = two_sides()
    fold = fold_numbers(a, 3, "stimulus", "category").values
    for name in np.unique(a["category"]):
        assert len(set(fold[a["category"].values == name])) == 1
    with pytest.raises(xc.SchemaError, match="must be a coordinate on 'stimulus'; there is"):
        fold_numbers(a, 3, "stimulus", "family")
    with pytest.raises(ValueError, match="between 2 and 3, the number of groups"):
        fold_numbers(a, 4, "stimulus", "category")


def test_folds_follow_labels():
    a, _ = two_sides()
    expected = fold_numbers(a, 5, "stimulus").assign_coords(stimulus=a["stimulus"])
    again = shuffled(a)
    found = fold_numbers(again, 5, "stimulus").assign_coords(stimulus=again["stimulus"])
    xr.testing.assert_equal(found.sel(stimulus=a["stimulus"]), expected)
    assert np.ptp(np.bincount(expected)) <= 1


@pytest.mark.parametrize("method", ["spearman", "pearson", "kendall", "cosine", "rho-a"])
def test_rsa_is_that_of_the_rdms(method):
    a, b = two_sides()
    found = xc.alignment(a, b, "rsa", method=method, rdm_metric="euclidean")
    expected = xc.rsa(xc.rdm(a, "euclidean"), xc.rdm(b, "euclidean"), method)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# properties of all of them


@pytest.mark.parametrize("metric", PAIRS)
def test_order_changes_no_number_and_inputs_stay(metric):
    a, b = two_sides(missing=[(0, 2)])
    expected = xc.alignment(read_only(a), read_only(b), metric, **options(metric))
    assert expected.dims == ("model_a", "model_b")
    assert expected.notnull().all()
    for one, two in ((shuffled(a), b), (a, shuffled(b)), (shuffled(a, 1), shuffled(b, 2))):
        found = xc.alignment(one, two, metric, **options(metric))
        xr.testing.assert_allclose(found, expected, rtol=1e-9)


def options(metric):
    given = {"svcca": {"n_components": 2, "folds": 3}, "linear_predictivity": {"folds": 3}}
    return {"k": K, **given.get(metric, {})}


@pytest.mark.parametrize("metric", PAIRS)
@given(data=st.data())
def test_chunks_change_nothing_and_stay_lazy(metric, data):
    a, b = two_sides(missing=[(1, 3)])
    expected = xc.alignment(a, b, metric, **options(metric))
    with no_compute():
        lazy = xc.alignment(data.draw(chunked(a)), data.draw(chunked(b)), metric, **options(metric))
    xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)


@pytest.mark.parametrize("metric", PAIRS)
def test_missing_stimuli_drop_out_of_the_pair(metric):
    a, b = two_sides()
    gone = a["stimulus"].values[[2, 9]]
    holes = a.where(~(a["stimulus"].isin(gone) & (a["model"] == "net0")))
    whole = xc.alignment(a, b, metric, **options(metric))
    found = xc.alignment(holes, b, metric, **options(metric))
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-12)
    assert found.notnull().all()
    assert found["n_stimuli"].values.tolist() == [[22, 22, 22], [24, 24, 24]]
    assert not np.allclose(found[0], whole[0], rtol=1e-9)
    if metric in ("cka", "procrustes", "rsa"):
        fewer = xc.alignment(
            a.drop_sel(stimulus=gone), b.drop_sel(stimulus=gone), metric, **options(metric)
        )
        np.testing.assert_allclose(found[0], fewer[0], rtol=1e-9)


def test_rbf_cka_with_missing_stimuli_is_that_of_the_common_ones():
    a, b = two_sides(missing=[(0, 2), (1, 5)])
    found = xc.alignment(a, b, "cka", kernel="rbf")
    assert found.notnull().all()
    assert float(found.max()) <= 1


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("metric", PAIRS)
def test_identical_sets_agree_fully_at_any_scale(metric, dtype, scale):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((60, 8)) * scale).astype(dtype)
    a = xc.stack_models({"x": x}, stimuli=[f"s{i}" for i in range(60)])
    found = float(xc.alignment(a, shuffled(a), metric, k=10)[0, 0])
    assert found == pytest.approx(0.0 if metric == "procrustes" else 1.0, abs=1e-6)


MAPS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.standard_normal((8, 8)))[0],
    "translation": lambda x, rng: x + 2 * rng.standard_normal(8),
    "scale": lambda x, rng: 3.7 * x,
    "row norm": lambda x, rng: x * np.exp(rng.standard_normal((len(x), 1))),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", [m for m in MEASURES if m != "cosine"])
def test_invariances_hold_where_the_table_says_so_and_fail_where_not(metric, name):
    assert set(MEASURES[metric].invariant) <= set(INVARIANCES)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 8)) * np.arange(1, 9)
    y = x[:, :6] + 2 * rng.standard_normal((80, 6))
    ids = [f"s{i}" for i in range(80)]
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    moved = a.copy(data=MAPS[name](x, rng)[None])
    given = {"n_components": 3} if metric == "svcca" else {"k": 5}
    before, after = (float(xc.alignment(side, b, metric, **given).mean()) for side in (a, moved))
    same = abs(before - after) < 1e-8
    assert same == (name in MEASURES[metric].invariant)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_invariances_of_rdms(metric, name):
    rng = np.random.default_rng(0)
    reps = make_reps(1, 20, 8, offset=1.0)
    moved = reps.copy(data=MAPS[name](reps.values[0], rng)[None])
    same = np.allclose(xc.rdm(reps, metric), xc.rdm(moved, metric), atol=1e-9)
    assert same == (name in DISTANCES[metric].invariant)


@pytest.mark.parametrize(("name", "move"), [("scale", (3.0, 0.0)), ("translation", (1.0, 0.5))])
@pytest.mark.parametrize("method", METHODS)
def test_invariances_of_comparisons(method, name, move):
    factor, added = move
    a, b = xc.rdm(make_reps(1, 12, 5, seed=1)), xc.rdm(make_reps(1, 12, 5, seed=2))
    before, after = (xc.rsa(side, b, method).item() for side in (a, factor * a + added))
    assert (abs(before - after) < 1e-9) == (name in METHODS[method].invariant)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("metric", dispersion.MEASURES)
def test_invariances_of_dispersion(metric, name, common):
    if common and name not in ("rotation", "translation"):
        pytest.skip("follows from that of one model")
    reps = make_reps(3, 20, 8, offset=0.5)
    moved = reps.copy(deep=True)
    for m in range(3 if common else 1):
        moved[m] = MAPS[name](reps.values[m], np.random.default_rng(0))
    options = {"k": 5} if metric == "neighborhood" else {}
    same = np.allclose(
        xc.dispersion(reps, metric, **options), xc.dispersion(moved, metric, **options), atol=1e-9
    )
    known = dispersion.MEASURES[metric].invariant
    assert same == (name in known or (common and f"common {name}" in known))


@pytest.mark.parametrize("metric", MEASURES)
def test_every_row_of_the_table_is_filled(metric):
    assert MEASURES[metric].kind in ("distance", "similarity")
    for field in ("formula", "range", "chance", "cost", "avoid"):
        assert getattr(MEASURES[metric], field)


# known truths


def gaussian(seed, n=1000, d=768, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    return xc.stack_models({f"g{seed}": x}, stimuli=[f"s{i}" for i in range(n)])


def test_independent_sets_have_no_unbiased_cka():
    a, b = gaussian(0), gaussian(1)
    assert abs(float(xc.alignment(a, b, "cka")[0, 0])) < 0.005
    assert float(xc.alignment(a, b, "cka", debiased=False)[0, 0]) == pytest.approx(0.435, abs=0.01)
    assert abs(float(xc.alignment(a, b, "cka", kernel="rbf")[0, 0])) < 0.005


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_cka_of_unit_rows_with_themselves_is_one(scale):
    a = xc.unit_rows(gaussian(0, 200, 64)) * np.float32(scale)
    for debiased in (True, False):
        value = xc.alignment(a, a, "cka", debiased=debiased)
        assert float(value[0, 0]) == pytest.approx(1, abs=1e-6)


def test_independent_sets_score_chance():
    a, b = gaussian(0, 400, 20), gaussian(1, 400, 20)
    for metric in ("svcca", "linear_predictivity"):
        assert abs(float(xc.alignment(a, b, metric)[0, 0])) < 0.08
    r2 = xc.alignment(a, b, "linear_predictivity", score="r2")
    assert -0.1 < float(r2[0, 0]) < 0.01
    cycle = xc.alignment(a, b, "cycle_knn")
    assert float(cycle[0, 0]) == pytest.approx(cycle.attrs["chance"], abs=0.06)
    assert float(xc.alignment(a, b, "svcca", folds=None)[0, 0]) > 0.1


def test_a_linear_map_is_predicted_one_way_only():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    y = x[:, :2] @ rng.standard_normal((2, 5))
    ids = [f"s{i}" for i in range(200)]
    a, b = xc.stack_models({"x": x}, stimuli=ids), xc.stack_models({"y": y}, stimuli=ids)
    there = float(xc.alignment(a, b, "linear_predictivity", score="r2")[0, 0])
    back = float(xc.alignment(b, a, "linear_predictivity", score="r2")[0, 0])
    assert there == pytest.approx(1, abs=1e-6)
    assert back == pytest.approx(1 / 3, abs=0.08)


# known faults of other tools


@pytest.mark.parametrize("metric", ["procrustes", "biased"])
def test_more_features_than_stimuli_do_not_pass_in_silence(metric):
    a, b = gaussian(0, 30, 60), gaussian(1, 30, 60)
    name, given = ("cka", {"debiased": False}) if metric == "biased" else (metric, {})
    with pytest.warns(RuntimeWarning, match="as many features as stimuli .30. in 'g0' and 'g1'"):
        xc.alignment(a, b, name, **given)


def test_in_sample_svcca_of_many_components_warns():
    a, b = gaussian(0, 30, 20), gaussian(1, 30, 20)
    with pytest.warns(RuntimeWarning, match="15 components for 30 stimuli"):
        xc.alignment(a, b, "svcca", n_components=15, folds=None)


@pytest.mark.parametrize("metric", PAIRS)
def test_a_partial_nan_is_an_error_by_name(metric):
    a, b = two_sides()
    b[1, 4, 2] = np.nan
    label = str(b["stimulus"].values[4])
    with pytest.raises(xc.SchemaError, match=f"b has NaN.*'y', stimulus '{label}'"):
        xc.alignment(a, b, metric, **options(metric))


@pytest.mark.parametrize("metric", ["cka", "cknna", "procrustes", "svcca", "linear_predictivity"])
def test_models_that_share_too_few_stimuli_are_nan_with_a_warning(metric):
    a, b = two_sides()
    a[0, :12] = np.nan
    b = b.sel(stimulus=a["stimulus"].values)
    b[:, 13:] = np.nan
    with pytest.warns(RuntimeWarning, match="NaN"):
        found = xc.alignment(a, b, metric, **options(metric))
    assert found[0].isnull().all()
    assert found[1].notnull().all()


def test_unknown_options_and_values_are_refused():
    a, b = two_sides()
    with pytest.raises(TypeError, match="'cka' has no option n_components; it has kernel"):
        xc.alignment(a, b, "cka", n_components=3)
    for name, wrong in (
        ("cka", {"kernel": "poly"}),
        ("cka", {"kernel": "rbf", "sigma": 0}),
        ("cknna", {"k": 1}),
        ("svcca", {"n_components": 0}),
        ("linear_predictivity", {"folds": 2}),
        ("linear_predictivity", {"score": "rho"}),
        ("rsa", {"method": "tau"}),
        ("nothing", {}),
    ):
        with pytest.raises(ValueError, match="must|needs|at least|choose"):
            xc.alignment(a, b, name, **wrong)


# layers


def layered(seed=0, signal=2.0, n=60, n_layers=3):
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(n)]
    z = rng.standard_normal((n, 5))
    sides = []
    for name, best in (("a", 1), ("b", 2)):
        layers = {
            f"{name}{layer}": (signal * (layer == best)) * z @ rng.standard_normal((5, 8))
            + rng.standard_normal((n, 8))
            for layer in range(n_layers)
        }
        side = xc.stack_models(layers, stimuli=ids)
        sides.append(side.assign_coords(network=("model", [f"net {name}"] * n_layers)))
    return sides


@pytest.mark.parametrize("metric", ["cka", "mutual_knn", "procrustes"])
def test_the_best_layers_are_found_and_scored_on_other_stimuli(metric):
    a, b = layered()
    found = xc.alignment(a, b, metric, layers="half", rng=3)
    assert found.dims == ("model_a", "model_b")
    assert (found["layer_a"].item(), found["layer_b"].item()) == ("a1", "b2")
    assert found.attrs["n_chosen_on"] == found.attrs["n_scored_on"] == 30
    again = xc.alignment(shuffled(a), shuffled(b), metric, layers="half", rng=3)
    assert float(again[0, 0]) == pytest.approx(float(found[0, 0]), rel=1e-9)


def test_a_maximum_over_layers_is_not_clipped_at_zero():
    a, b = layered(signal=0.0)
    values = xc.alignment(a, b, "cka")
    found = xc.alignment(a - 0, -b, "cka", layers="max", n_permutations=9)
    assert float(found[0, 0]) == pytest.approx(float(values.max()))
    low = next(
        (one, two)
        for one, two in (layered(seed, 0.0, 30, 1) for seed in range(50))
        if float(xc.alignment(one, two, "cka")[0, 0]) < -0.01
    )
    assert float(xc.alignment(*low, "cka", layers="max", n_permutations=9)[0, 0]) < -0.01


def test_the_null_of_the_maximum():
    a, b = layered()
    found = xc.alignment(a, b, "cka", layers="max", n_permutations=39)
    assert float(found["p_value"][0, 0]) == pytest.approx(1 / 40)
    assert float(found["threshold"][0, 0]) < float(found[0, 0])
    p = [
        float(
            xc.alignment(*layered(seed, 0.0, 30), "cka", layers="max", n_permutations=19, rng=seed)[
                "p_value"
            ][0, 0]
        )
        for seed in range(30)
    ]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_layers_as_a_dim():
    a, b = layered()
    values = a.values.reshape(1, 3, 60, 8)
    stacked = xr.DataArray(
        values,
        dims=("model", "layer", "stimulus", "feature"),
        coords={"model": ["net a"], "layer": [0, 1, 2], "stimulus": a["stimulus"].values},
    )
    found = xc.alignment(stacked, b, "cka", layers="half")
    expected = xc.alignment(a, b, "cka", layers="half")
    np.testing.assert_allclose(found, expected)
    assert found["layer_a"].item() == "net a 1"
    with pytest.raises(xc.SchemaError, match="which models of a are layers of one network"):
        xc.alignment(a.drop_vars("network"), b, "cka", layers="half")


def test_a_layer_without_a_network_is_named():
    a, b = layered()
    a = a.assign_coords(network=("model", np.array(["net a", None, "net a"], dtype=object)))
    with pytest.raises(xc.SchemaError, match="'network' is missing for 'a1'"):
        xc.alignment(a, b, "cka", layers="half")


def test_width_may_depend_on_the_layer():
    a, _ = two_sides()
    a = xr.concat([a, a], "layer").assign_coords(layer=["first", "last"])
    n_features = a["n_features"].expand_dims(layer=a["layer"])
    found = xc.alignment(a.assign_coords(n_features=n_features), a, "procrustes")
    same = found.transpose(..., "layer").values[[0, 1], [0, 1]]
    np.testing.assert_allclose(same, 0, atol=1e-9)


def test_networks_stay_lazy():
    a, b = layered()
    with no_compute():
        lazy = xc.alignment(a.chunk(model=1), b.chunk(model=1), "cka", layers="half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(lazy.compute(), xc.alignment(a, b, "cka", layers="half"))
