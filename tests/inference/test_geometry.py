"""Where stimuli lie: squared distances and categories, joined by label."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xconverge.inference.geometry import squares_of, structure, warn_of_missing_side
from xconverge.labels.messages import SchemaError
from xconverge.labels.stack import stack_models
from xconverge.measures.rdm import rdm

IDS = [f"s{i}" for i in range(6)]


def reps(seed=0, models=2):
    rng = np.random.default_rng(seed)
    made = {f"m{i}": rng.standard_normal((6, 4)) for i in range(models)}
    return stack_models(made, stimuli=IDS, modality=f"side {seed}")


def a_map(order=IDS):
    return xr.DataArray(np.arange(6.0), dims="stimulus", coords={"stimulus": list(order)})


def by_loops(side):
    total = np.zeros((6, 6))
    for x in side.values:
        for i in range(6):
            for j in range(6):
                gap = x[i] / np.linalg.norm(x[i]) - x[j] / np.linalg.norm(x[j])
                total[i, j] += gap @ gap / len(side)
    return total


def test_representations_are_unit_rows():
    np.testing.assert_allclose(squares_of(reps()), by_loops(reps()), atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean", "sqeuclidean"])
def test_rdms_become_squared_distances(metric):
    side = reps(models=1)
    x = side.values[0]
    if metric == "correlation":
        x = x - x.mean(1, keepdims=True)
    if metric in ("cosine", "correlation"):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = ((x[:, None] - x) ** 2).sum(-1)
    np.testing.assert_allclose(squares_of(rdm(side, metric)), expected, atol=1e-12)


def test_a_distance_of_no_known_metric_is_squared():
    plain = rdm(reps(), "euclidean")
    np.testing.assert_allclose(squares_of(plain.drop_attrs()), (plain**2).mean("model"))


def test_all_in_the_order_of_the_map():
    order = IDS[::-1]
    side = reps().assign_coords(kind=("stimulus", list("aabbcc")))
    squares, codes = structure([side, reps(1)], ["kind"], [a_map(order)])
    np.testing.assert_allclose(squares[0], by_loops(side)[::-1, ::-1], atol=1e-12)
    assert codes[0].values.tolist() == [2, 2, 1, 1, 0, 0]
    np.testing.assert_allclose(squares[1], by_loops(reps(1))[::-1, ::-1], atol=1e-12)


def test_lazy_stays_lazy():
    (square,), _ = structure([reps().chunk(stimulus=2)], (), [a_map()])
    assert square.chunks is not None
    np.testing.assert_allclose(square, by_loops(reps()), atol=1e-12)


def test_a_stimulus_that_one_model_missed_has_the_distances_of_the_others():
    side = reps()
    side = side.where((side["model"] != "m0") | (side["stimulus"] != "s2"))
    expected = by_loops(reps())
    expected[2] = expected[:, 2] = by_loops(reps()[1:])[2]
    np.testing.assert_allclose(squares_of(side), expected, atol=1e-12)


def test_what_is_no_geometry_is_refused():
    with pytest.raises(SchemaError, match="geometry 0 must be representations"):
        structure([a_map().values], (), [a_map()])
    with pytest.raises(SchemaError, match="same labels"):
        structure([reps()[:, :4]], (), [a_map()])
    with pytest.raises(SchemaError, match="groups='kind'"):
        structure([reps()], ["kind"], [a_map()])


def test_a_side_that_is_missing_is_told():
    spread = a_map().assign_attrs(modality="side 0")
    scores = a_map().assign_attrs(modality_a="side 0", modality_b="side 1")
    with pytest.warns(UserWarning, match="lacks side 1"):
        warn_of_missing_side([reps()], spread, scores)
    warn_of_missing_side([reps(), reps(1)], spread, scores)
