"""Every measure, whatever rows are missing: plain loops over the stimuli that both models saw."""

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, shuffled
from tests.pools import PATTERNS, K, N, rows_of, sides

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
LISTS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def of_lists(metric):
    if metric == "mutual_knn":
        return lambda x, y, labels: oracles.mutual_knn(x, y, labels, K)
    return lambda x, y, labels: oracles.list_measure(metric, x, y, labels, K)


CASES = [
    *((metric, {"k": K}, of_lists(metric)) for metric in LISTS),
    *(
        (
            "cknna",
            {"k": K, "centered": centered},
            lambda x, y, labels, c=centered: oracles.cknna_of_pair(x, y, labels, K, c),
        )
        for centered in (False, True)
    ),
    *(
        (
            "rdm",
            {"rdm_metric": metric},
            lambda x, y, labels, m=metric: oracles.rdm_rows_of_pair(x, y, m),
        )
        for metric in ("correlation", "euclidean")
    ),
    *(
        (
            "rsa",
            {"rdm_metric": metric, "method": method},
            lambda x, y, labels, m=metric, how=method: oracles.rsa_of_pair(x, y, m, how),
        )
        for metric, method in (
            ("correlation", "spearman"),
            ("euclidean", "pearson"),
            ("cosine", "kendall"),
            ("sqeuclidean", "cosine"),
            ("correlation", "rho-a"),
        )
    ),
    *(
        (
            "cka",
            {"kernel": kernel, "debiased": debiased},
            lambda x, y, labels, k=kernel, d=debiased: oracles.cka_of_pair(x, y, k, d),
        )
        for kernel in ("linear", "rbf")
        for debiased in (True, False)
    ),
    *(
        (
            "distance_correlation",
            {"debiased": debiased},
            lambda x, y, labels, d=debiased: oracles.distance_correlation_of_pair(x, y, d),
        )
        for debiased in (True, False)
    ),
    ("procrustes", {}, lambda x, y, labels: oracles.procrustes_of_pair(x, y)),
    ("cosine", {}, lambda x, y, labels: oracles.cosine_of_pair(x, y)),
]


def check_pairs(a, b, case, data):
    """Every pair, of sides in memory or lazy and in any order, is what plain loops make of it."""
    metric, options, oracle = case
    if metric == "cosine":
        a, b = (side.assign_attrs(space="shared") for side in (a, b))
    given = [data.draw(chunked(side)) if data.draw(st.booleans()) else side for side in (a, b)]
    given[1] = shuffled(given[1], data.draw(st.integers(0, 9)))
    found = xc.alignment(*given, metric, **options).compute(scheduler="single-threaded")
    if "stimulus" in found.dims:
        found = found.sel(stimulus=a["stimulus"].values)
    tolerance = 2e-4 if a.dtype == np.float32 else 1e-7
    for i, x in enumerate(rows_of(a)):
        for j, y in enumerate(rows_of(b)):
            expected = oracle(x, y, a["stimulus"].values)
            np.testing.assert_allclose(found[i, j], expected, atol=tolerance)
            size = len(oracles.common(x, y))
            if "stimulus" not in found.dims:
                assert int(found["n_stimuli"][i, j]) == size
            if metric == "mutual_knn":
                chance = K / (size - 1) if size > K else np.nan
                np.testing.assert_equal(float(found["chance"][i, j]), chance)


def drawn_sides(data, case):
    return data.draw(sides((5, 5, 5, 5)) if case[0] == "cosine" else sides())


def is_undefined(error):
    return "half its pairs" in str(error)


def check_drawn(data, cases):
    case = data.draw(st.sampled_from(cases))
    a, b = drawn_sides(data, case)
    try:
        check_pairs(a, b, case, data)
    except xc.SchemaError as error:
        # of duplicates alone an RBF kernel has no width
        if not is_undefined(error):
            raise


@pytest.mark.slow
@settings(max_examples=80)
@given(data=st.data())
def test_alignment_by_plain_loops(data):
    check_drawn(data, CASES)


@pytest.mark.slow
@pytest.mark.usefixtures("everything_is_long")
@settings(max_examples=50)
@given(data=st.data())
def test_alignment_in_blocks_by_plain_loops(data):
    check_drawn(data, CASES)


def check_dispersion(data):
    a, b = data.draw(sides((5, 5, 5, 5)))
    reps = xr.concat([a, b], "model", combine_attrs="override")
    x, labels = reps.values.astype(np.float64), reps["stimulus"].values
    given = data.draw(chunked(reps)) if data.draw(st.booleans()) else reps
    seen = (~np.isnan(x[:, :, 0])).sum(0)
    tolerance = 1e-4 if a.dtype == np.float32 else 1e-9
    for metric, pairs, without in (
        ("neighborhood", oracles.pair_neighborhood(x, labels, K), oracles.neighborhood_without),
        ("rdm", oracles.pair_rdm(x), lambda x, labels, k, of: oracles.rdm_without(x, of)),
    ):
        found, others = (
            xc.dispersion(given, metric, k=K, leave_out=out).compute(scheduler="single-threaded")
            for out in (None, "model")
        )
        np.testing.assert_allclose(found, oracles.mean_of_pairs(pairs), atol=tolerance)
        np.testing.assert_array_equal(found["n_models"], seen)
        np.testing.assert_allclose(others, without(x, labels, K, range(4)), atol=tolerance)
    near = xc.local_density(given, K).compute(scheduler="single-threaded")
    expected = [oracles.density(one, labels, K) for one in x]
    np.testing.assert_allclose(near, expected, atol=tolerance)


@pytest.mark.slow
@settings(max_examples=20)
@given(data=st.data())
def test_dispersion_and_density_by_plain_loops(data):
    check_dispersion(data)


@pytest.mark.slow
@pytest.mark.usefixtures("everything_is_long")
@settings(max_examples=20)
@given(data=st.data())
def test_dispersion_and_density_in_blocks_by_plain_loops(data):
    check_dispersion(data)


# --- graphs that were made before, of stimuli of which some were left out since


def check_graph(data, keep):
    """The graph gives the scores of the vectors, or says a length that does."""
    a, b = data.draw(sides())
    left = np.sort(data.draw(st.permutations(range(N)))[: data.draw(st.integers(4, N))])
    graph = keep(xc.neighbor_graph(a, k=data.draw(st.integers(K, N - 1))))
    metric = data.draw(st.sampled_from(LISTS))
    labels = a["stimulus"].values[left]
    expected = xc.alignment(a.sel(stimulus=labels), b.sel(stimulus=labels), metric, k=K)

    def scored(graph):
        some = shuffled(graph.sel(stimulus=labels), 1)
        found = xc.alignment(some, b.sel(stimulus=labels), metric, k=K)
        return found.sel(stimulus=labels) if "stimulus" in found.dims else found

    try:
        found = scored(graph)
    except ValueError as error:
        enough = int(re.search(r"(\d+) are enough", str(error))[1])
        assert graph.sizes["neighbor"] < enough < N
        found = scored(keep(xc.neighbor_graph(a, k=enough)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@settings(max_examples=5)
@given(data=st.data())
def test_graphs_of_fewer_stimuli_score_or_say_their_length(data):
    check_graph(data, lambda graph: graph)


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_saved_graphs_of_fewer_stimuli_score_or_say_their_length(data, tmp_path_factory):
    def saved(graph):
        path = tmp_path_factory.mktemp("graph") / "study.zarr"
        xc.create_store(path)
        xc.io.write_neighbors(path, graph)
        return xc.io.open_neighbors(path, "x").load()

    check_graph(data, saved)


def test_the_length_counts_stimuli_that_no_list_names():
    rng = np.random.default_rng(0)
    center = np.eye(3)[np.repeat([0, 1, 2], 5)]
    labels = [f"s{i}" for i in range(15)]
    a = xc.stack_models({"a": center + 0.01 * rng.standard_normal((15, 3))}, stimuli=labels)
    # of the kept five, one is of another group: of it and its lists nothing says that there were 15
    some = [0, 1, 5, 6, 7]
    graph = xc.neighbor_graph(a, k=3).isel(stimulus=some)
    with pytest.raises(ValueError, match=r"k=2 nearest.*12 are enough"):
        xc.alignment(graph, a.isel(stimulus=some), k=2)
    longer = xc.neighbor_graph(a, k=12).isel(stimulus=some)
    found = xc.alignment(longer, a.isel(stimulus=some), k=2)
    assert (found == 1).all()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "pattern",
    [
        "another row of each",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "disjoint halves")),
    ],
)
@pytest.mark.parametrize("layers", [None, "half"])
def test_an_index_finds_the_same_in_any_pool(pattern, layers):
    rng = np.random.default_rng(0)
    labels = [f"s{i}" for i in range(4 * N)]
    models = rng.standard_normal((4, 4 * N, 5)) + rng.standard_normal((4 * N, 5))
    models[np.tile(PATTERNS[pattern], 4)] = np.nan
    a, b = (
        xc.stack_models(dict(zip("xy", side, strict=True)), stimuli=labels).assign_coords(
            network=("model", ["one", "one"])
        )
        for side in (models[:2], models[2:])
    )
    call = {"k": 3, "layers": layers, "rng": 1}
    expected = xc.alignment(a, b, **call)
    found = xc.alignment(a, b, neighbors="approximate", **call)
    np.testing.assert_array_equal(found, expected)
    assert float(found.max()) > 0
    lazy = xc.alignment(a.chunk(stimulus=7), b, neighbors="approximate", **call)
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_pools_differ_by_extra_dim():
    layers = []
    for seed, gone in ((0, [0, 1]), (1, [5, 6, 7])):
        rows = np.random.default_rng(seed).standard_normal((3, N, 4))
        rows[0, gone] = np.nan
        layers.append(rows)
    labels, models = [f"s{i}" for i in range(N)], list("abc")
    reps = xr.DataArray(
        layers,
        dims=("layer", "model", "stimulus", "feature"),
        coords={"layer": ["p", "q"], "model": models, "stimulus": labels},
    )
    a, b = reps.isel(model=[0, 1]), reps.isel(model=[2], layer=0, drop=True)
    found = xc.alignment(a, b, k=K)
    table = xc.calibrate(a, b, k=K, n_permutations=9, rng=0)
    spread = xc.dispersion(reps, "neighborhood", k=K)
    for place, layer in enumerate("pq"):
        for i in range(2):
            x, y = a.values[place, i], b.values[0]
            expected = oracles.mutual_knn(x, y, labels, K)
            one = found.isel(model_a=i, model_b=0).sel(layer=layer)
            np.testing.assert_allclose(one, expected)
            assert float(one["chance"]) == K / (len(oracles.common(x, y)) - 1)
            chance = table["chance"].isel(model_a=i, model_b=0).sel(layer=layer)
            assert float(chance) == K / (len(oracles.common(x, y)) - 1)
        pairs = oracles.pair_neighborhood(reps.values[place], labels, K)
        np.testing.assert_allclose(spread.sel(layer=layer), oracles.mean_of_pairs(pairs))


def test_a_copy_that_misses_half_has_dispersion_zero_and_scores_one():
    rows = np.random.default_rng(0).standard_normal((30, 6))
    half = rows.copy()
    half[::2] = np.nan
    reps = xc.stack_models({"whole": rows, "half": half}, stimuli=[f"s{i}" for i in range(30)])
    for metric in ("neighborhood", "rdm"):
        found = xc.dispersion(reps, metric, k=3)
        np.testing.assert_allclose(found[1::2], 0, atol=1e-12)
        assert found[::2].isnull().all()
    for metric in ("mutual_knn", "lcs_knn", "edit_distance_knn", "rdm", "rsa", "cka"):
        options = {"k": 3} if metric.endswith("knn") else {}
        found = xc.alignment(reps[:1], reps[1:], metric, **options)
        np.testing.assert_allclose(found.mean(), 1, atol=1e-12)
