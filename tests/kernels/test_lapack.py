"""What is called of LAPACK, by its own functions and by wrappers of others."""

import threading
import time

import numpy as np
import pytest

from xconverge.kernels import lapack

NAMES = ("_POTRF", "_POTRI", "_TRTRS", "_SYEVR", "_GESDD")


@pytest.fixture(params=["own", "others'"])
def functions(request, monkeypatch):
    for name in NAMES:
        if request.param == "own":
            assert getattr(lapack, name) is not None
        else:
            monkeypatch.setattr(lapack, name, None)


def positive(n):
    rows = np.random.default_rng(n).standard_normal((n, n + 3))
    return rows @ rows.T


@pytest.mark.parametrize("n", [1, 2, 7, 130])
@pytest.mark.usefixtures("functions")
def test_factor_inverse_and_solutions(n):
    matrix = positive(n)
    factor = matrix.copy().T
    assert lapack.cholesky(factor)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=1e-10, atol=1e-10)
    assert not np.triu(factor, 1).any()
    maps = np.random.default_rng(0).standard_normal((n, 3))
    before = maps.copy()
    for transposed, side in ((False, factor), (True, factor.T)):
        found = lapack.solve(factor, maps, transposed)
        np.testing.assert_allclose(side @ found, maps, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(lapack.solve(factor, maps[:, 0]), lapack.solve(factor, maps)[:, 0])
    np.testing.assert_array_equal(lapack.solve(np.ascontiguousarray(factor), maps),
                                  lapack.solve(factor, maps))  # fmt: skip
    assert lapack.solve(factor, maps[:, :0]).shape == (n, 0)
    np.testing.assert_array_equal(maps, before)
    lapack.invert(factor)
    np.testing.assert_allclose(np.tril(factor), np.tril(np.linalg.inv(matrix)), rtol=1e-8)
    assert not np.triu(factor, 1).any()


@pytest.mark.usefixtures("functions")
def test_what_has_no_factor_is_told():
    assert not lapack.cholesky(np.diag([1.0, -1.0, 1.0]).T)


def test_what_lapack_cannot_write_to_is_refused():
    rows = positive(4)[:, :3]  # neither rows nor columns one after the other
    for matrix in (rows, positive(4).astype(np.float32)):
        with pytest.raises(ValueError, match="columns of double precision"):
            lapack.cholesky(matrix)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 2), (60, 60), (60, 7), (4, 0)])
@pytest.mark.usefixtures("functions")
def test_last_eigenvectors(n, count):
    matrix = positive(n)
    before = matrix.copy()
    values, vectors = lapack.last_eigenvectors(matrix, count)
    assert (values.dtype, vectors.dtype) == (np.float32, np.float32)
    right, of_right = (part[..., n - count :] for part in np.linalg.eigh(matrix))
    np.testing.assert_allclose(values, right, rtol=1e-5, atol=1e-5 * np.trace(matrix))
    np.testing.assert_allclose(vectors @ vectors.T, of_right @ of_right.T, atol=1e-4)
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (9, 4), (4, 9), (70, 70)])
@pytest.mark.usefixtures("functions")
def test_singular_vectors(shape):
    matrix = np.random.default_rng(1).standard_normal(shape)
    before = matrix.copy()
    left, right = lapack.singular_vectors(matrix)
    assert (left.dtype, right.dtype) == (np.float32, np.float32)
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    assert (left.shape, right.shape) == (u.shape, vt.shape)
    # signs are free, of both together
    np.testing.assert_allclose(left @ right, u @ vt, atol=1e-4)
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.usefixtures("functions")
def test_nan_is_an_error():
    matrix = positive(6)
    matrix[2, 3] = matrix[3, 2] = np.nan
    with pytest.raises(np.linalg.LinAlgError):
        lapack.singular_vectors(matrix)
    with pytest.raises(np.linalg.LinAlgError):
        lapack.last_eigenvectors(matrix, 3)


@pytest.mark.parametrize("of", ["_SYEVR", "_GESDD"])
def test_where_lapack_fails_numpy_is_asked(of, monkeypatch):
    monkeypatch.setattr(lapack, "_call", lambda *arguments: 1)
    matrix = positive(6)
    if of == "_SYEVR":
        values, _ = lapack.last_eigenvectors(matrix, 3)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[3:], rtol=1e-5)
    else:
        left, right = lapack.singular_vectors(matrix)
        np.testing.assert_allclose(left @ right, np.eye(6), atol=1e-5)


@pytest.mark.slow
def test_other_threads_go_on():
    factor = positive(1500).T
    assert lapack.cholesky(factor)
    spent = []

    def work():
        start = time.perf_counter()
        lapack.invert(factor)
        spent.append(time.perf_counter() - start)

    thread = threading.Thread(target=work)
    thread.start()
    last, longest = time.perf_counter(), 0.0
    while thread.is_alive():
        now = time.perf_counter()
        last, longest = now, max(longest, now - last)
    thread.join()
    assert longest < 0.7 * spent[0]
