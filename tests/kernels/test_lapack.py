"""Triangular factors, by LAPACK's own functions and by scipy's wrappers."""

import threading
import time

import numpy as np
import pytest

from xconverge.kernels import lapack


@pytest.fixture(params=["own", "scipy's"])
def functions(request, monkeypatch):
    if request.param == "own":
        assert None not in (lapack._POTRF, lapack._POTRI, lapack._TRTRS)
    else:
        for name in ("_POTRF", "_POTRI", "_TRTRS"):
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
