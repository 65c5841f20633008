"""Axes of the largest variance, in double and in single precision."""

import numpy as np
import pytest

from xconverge.kernels.axes import (
    FEW,
    leading,
    leading_in_single,
    principal_axes,
    told_in_single,
)


def rows(n=30, d=12, rank=5, seed=0):
    """Centred rows whose directions differ in variance, all but ``rank`` of them without any."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, rank)) * 3.0 ** -np.arange(rank)
    x = scores @ np.linalg.qr(rng.standard_normal((d, rank)))[0].T
    return x - x.mean(0)


def projection(axes):
    return axes @ axes.T


@pytest.mark.parametrize(("of", "atol"), [(leading, 1e-12), (leading_in_single, 1e-4)])
@pytest.mark.parametrize("scale", [1.0, 2.0**-90, 2.0**150])
def test_eigenvectors_are_those_of_the_largest_eigenvalues(of, atol, scale):
    """Also where squares are no numbers in single precision."""
    x = rows() * scale
    right = np.linalg.svd(x)[2]
    for count in (1, 3):
        found = of(x.T @ x, count, 1e-13)
        assert found.dtype == np.float64
        np.testing.assert_allclose(projection(found), projection(right[:count].T), atol=atol)
        # the largest comes first
        size = np.linalg.norm(x @ found, axis=0)
        assert (np.diff(size) < 0).all()


@pytest.mark.parametrize("of", [leading, leading_in_single])
def test_eigenvalues_of_rounding_have_no_vector(of):
    x = rows(rank=3)
    assert of(x.T @ x, 12, 1e-13).shape == (12, 3)
    assert of(np.zeros((4, 4)), 2, 1e-13).shape == (4, 0)


def test_few_of_many_eigenvectors_are_made_alone(monkeypatch):
    x = rows(80, 40)
    whole = leading(x.T @ x, 40)[:, :2]
    assert FEW * 2 < 40
    monkeypatch.setattr(np.linalg, "eigh", None)
    few = leading(x.T @ x, 2)
    np.testing.assert_allclose(projection(few), projection(whole), atol=1e-12)


@pytest.mark.parametrize("largest", [1e2, 1e4, 1e9])
def test_directions_that_single_precision_does_not_tell_are_those_of_double(largest):
    """One direction beside which the others are rounding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 20))
    x[:, 0] *= largest
    found, right = (of(x.T @ x, 6, 1e-13) for of in (leading_in_single, leading))
    np.testing.assert_allclose(projection(found), projection(right), atol=0.02)
    assert told_in_single(np.array([1e-3, 1.0]), 200)
    assert not told_in_single(np.array([1e-5, 1.0]), 200)


@pytest.mark.parametrize(("of", "atol"), [(leading, 1e-10), (leading_in_single, 1e-3)])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_axes_come_from_the_smaller_product(of, atol, shape):
    x = rows(*shape)
    axes = principal_axes(x, 4, 1e-13, of)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-5)
    right = np.linalg.svd(x)[2][:4].T
    np.testing.assert_allclose(projection(axes), projection(right), atol=atol)
