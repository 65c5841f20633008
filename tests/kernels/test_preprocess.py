"""Steps of pre-processing on arrays: block by block they are what they are in one."""

import numpy as np
import pytest

from tests.kernels.rows import cut, merged_in_pairs
from xconverge.kernels import preprocess
from xconverge.kernels.components import first_component

N, WIDTH, SIZE = 30, 5, 7
STEPS = {
    "center": preprocess.centering(SIZE),
    "zscore": preprocess.standardizing(SIZE),
    "pca": preprocess.reducing(SIZE, N, 4),
}


def rows(width=WIDTH, scale=1.0):
    rng = np.random.default_rng(0)
    x = np.full((N, max(width, SIZE)), np.nan)
    x[:, :width] = scale * (rng.standard_normal((N, width)) * (1 + np.arange(width)) + 3)
    x[[2, 11]] = np.nan
    return x


def fitted(step, x, width, parts):
    return step.finish(merged_in_pairs(step.merge, [step.part(x[p], width) for p in parts]))


def oracle(name, x):
    if name == "center":
        return x - x.mean(0)
    if name == "zscore":
        return (x - x.mean(0)) / x.std(0)
    u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return (u * s * np.sign(vt[np.arange(len(vt)), np.abs(vt).argmax(1)]))[:, :4]


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1.0, 1e150])
@pytest.mark.parametrize("name", STEPS)
def test_steps_are_their_formulas_in_one_block_and_in_several(name, scale):
    step, x = STEPS[name], rows(scale=scale)
    seen = ~np.isnan(x[:, 0])
    expected = oracle(name, rows()[seen, :WIDTH]) * (1.0 if name == "zscore" else scale)
    whole = preprocess.in_one(x, WIDTH, step, np.float64)
    pieces = fitted(step, x, WIDTH, cut(N, 1))
    for found in (whole, step.place(x, WIDTH, pieces, dtype=np.float64)):
        used = expected.shape[1]
        np.testing.assert_allclose(found[seen, :used], expected, rtol=1e-9, atol=1e-12 * scale)
        assert np.isnan(found[~seen]).all()
        assert np.isnan(found[:, used:]).all()


@pytest.mark.parametrize("name", STEPS)
def test_blocks_of_other_sizes_meet(name):
    step, x = STEPS[name], rows()
    x[:10, :WIDTH] *= 1e-150
    x[12:20, 0] = 0.0
    whole, pieces = (fitted(step, x, WIDTH, p) for p in ([slice(0, N)], cut(N, 2)))
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-12)


def test_wide_models_are_reduced_from_their_rows():
    x, step = rows(60), preprocess.reducing(60, N, 4)
    seen = ~np.isnan(x[:, 0])
    whole, pieces = (fitted(step, x, 60, p) for p in ([slice(0, N)], cut(N, 2)))
    np.testing.assert_allclose(pieces, whole, atol=1e-10)
    found = step.place(x, 60, whole, dtype=np.float64)
    np.testing.assert_allclose(found[seen], oracle("pca", x[seen]), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("parts", [[slice(0, N)], cut(N, 0)])
def test_what_does_not_vary_is_zero(parts):
    x = np.full((N, SIZE), 0.1)
    x[:, 0] = np.arange(N)
    step = STEPS["zscore"]
    found = step.place(x, SIZE, fitted(step, x, SIZE, parts), dtype=np.float64)
    assert not found[:, 1:].any()
    step = preprocess.reducing(SIZE, N, 2)
    found = step.place(x, SIZE, fitted(step, x, SIZE, parts), dtype=np.float64)
    np.testing.assert_allclose(found[:, 0], x[:, 0] - x[:, 0].mean(), atol=1e-12)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_a_model_that_saw_nothing_stays_so(name):
    x = np.full((N, SIZE), np.nan)
    for parts in ([slice(0, N)], cut(N, 0)):
        step = STEPS[name]
        assert np.isnan(step.place(x, WIDTH, fitted(step, x, WIDTH, parts), dtype=float)).all()


def test_limits_are_quantiles_of_all_layers():
    x = rows()[None].repeat(2, 0)
    x[1] *= 2
    real = x[:, :, :WIDTH]
    seen = ~np.isnan(real[0, :, 0])
    joined = np.abs(np.concatenate(real, 1))
    found = preprocess.sizes(x, np.array([WIDTH, WIDTH]), 0.7)
    np.testing.assert_allclose(found[seen], [np.quantile(row, 0.7) for row in joined[seen]])
    limit = preprocess.exact_limit(x, np.array(WIDTH), 0.7)
    values = np.sort(joined[seen].ravel())
    assert limit == values[int(0.7 * len(values))]
    clipped = preprocess.clipped(x, np.array(WIDTH), limit, np.float64)
    np.testing.assert_array_equal(clipped[:, :, :WIDTH], np.clip(real, -limit, limit))


def test_the_first_component_is_that_of_a_plain_decomposition():
    x = np.random.default_rng(0).standard_normal((4, 20)) ** 2
    scores, share = first_component(x)
    values, axes = np.linalg.eigh(np.cov(x))
    expected = (x.T - x.mean(1)) @ axes[:, -1]
    expected *= np.sign(np.corrcoef(expected, np.sqrt((x**2).sum(0)))[0, 1])
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert share == pytest.approx(values[-1] / values.sum())
