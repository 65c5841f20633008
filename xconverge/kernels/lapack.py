"""What numpy lacks of LAPACK: triangular factors, and decompositions in single precision.

Other threads go on meanwhile: scipy's own wrappers hold the interpreter's lock, so that tasks side
by side would wait for each other; what ctypes calls does not. The addresses are those that scipy
offers to other compilers, in ``scipy.linalg.cython_lapack``.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import scipy
from scipy.linalg import cython_lapack

from xconverge.kernels.vectors import Array


def _function(name: str) -> Callable[..., None] | None:
    """A function of LAPACK, all arguments by address; None where its integers are not plain."""
    capsules: Mapping[str, object] = cython_lapack.__pyx_capi__
    capsule = capsules[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = api.PyCapsule_GetName(capsule)
    kinds = re.fullmatch(rb"void \((.*)\)", signature)
    types = kinds[1].split(b", ") if kinds else []
    if not types or not all(re.fullmatch(rb"(char|int|\w+_[ds]) \*", kind) for kind in types):
        return None
    address = api.PyCapsule_GetPointer(capsule, signature)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(types))(address)


one_thread: Callable[[], AbstractContextManager[None]] = nullcontext
"""What leaves LAPACK one thread; the engine says how.

numpy brings a library of its own, whose idle threads keep their cores busy for a while. Where calls
of both follow each other, two threads each take three times as long as one for LAPACK.
"""
_POTRF, _POTRI, _TRTRS, _SYEVR, _GESDD = (
    _function(name) for name in ("dpotrf", "dpotri", "dtrtrs", "ssyevr", "sgesdd")
)


def _call(function: Callable[..., None], *arguments: Any) -> int:
    """What LAPACK says of a call: 0 if all is well. Text, numbers and arrays go by address."""
    told = ctypes.c_int(-1)
    function(*map(_address, arguments), ctypes.byref(told))
    return told.value


def _address(one: Any) -> Any:
    if isinstance(one, np.ndarray):
        return ctypes.c_void_p(one.ctypes.data)
    if isinstance(one, bytes):
        return ctypes.c_char_p(one)
    return ctypes.byref((ctypes.c_float if isinstance(one, float) else ctypes.c_int)(one))


def _check(matrix: Array) -> int:
    """The size of a matrix that LAPACK may write to: it reads columns."""
    if not (matrix.flags.f_contiguous and matrix.flags.writeable and matrix.dtype == np.float64):
        raise ValueError("LAPACK takes columns of double precision, one after the other")
    return len(matrix)


def cholesky(matrix: Array) -> bool:
    """Make the lower factor of a symmetric matrix (n, n) in place, with zeros above.

    False where the matrix is not positive definite; it is used up then.
    """
    n = _check(matrix)
    if _POTRF is None:
        failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1)[1]
    else:
        failed = _call(_POTRF, b"L", n, matrix, n)
    for i, column in enumerate(matrix.T):
        column[:i] = 0
    return not failed


def invert(factor: Array) -> None:
    """Make the lower triangle of (LL')⁻¹ of a lower factor L (n, n) in place."""
    n = _check(factor)
    if _POTRI is None:
        scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    else:
        _call(_POTRI, b"L", n, factor, n)


def solve(factor: Array, maps: Array, transposed: bool = False) -> Array:
    """Maps (n, …) times the inverse of a lower factor L (n, n), or of L'."""
    factor = np.asfortranarray(factor, np.float64)
    n, letter = len(factor), b"T" if transposed else b"N"
    found = np.array(maps.reshape(n, -1), np.float64, order="F")
    if _TRTRS is None:
        scipy.linalg.lapack.dtrtrs(factor, found, lower=1, trans=int(transposed), overwrite_b=1)
    elif found.size:
        _call(_TRTRS, b"L", letter, b"N", n, found.shape[1], factor, n, found, n)
    return found.reshape(maps.shape)


def last_eigenvectors(matrix: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` largest eigenvalues, ascending, of a symmetric matrix, in single precision.

    With their vectors (n, count). It takes a third of the time that all take in double.
    """
    used_up = np.array(matrix, np.float32, order="F")
    n = len(used_up)
    # of NaN LAPACK makes any numbers, without a word; numpy raises
    if _SYEVR is not None and count and np.isfinite(used_up).all():
        values, vectors = np.empty(n, np.float32), np.empty((n, count), np.float32, order="F")
        found, support = np.empty(1, np.intc), np.empty(2 * n, np.intc)
        # room for columns that are worked on together
        work, numbers = np.empty(70 * n, np.float32), np.empty(10 * n, np.intc)
        with one_thread():
            failed = _call(
                _SYEVR, b"V", b"I", b"L", n, used_up, n, 0.0, 0.0, n - count + 1, n, 0.0, found,
                values, vectors, n, support, work, len(work), numbers, len(numbers),
            )  # fmt: skip
        if not failed and found[0] == count:
            return values[:count], vectors
        used_up = np.array(matrix, np.float32, order="F")
    values, vectors = np.linalg.eigh(used_up)
    return values[n - count :], vectors[:, n - count :]


def singular_vectors(matrix: Array) -> tuple[Array, Array]:
    """Left (m, r) and right (r, n) singular vectors, r = min(m, n), in single precision."""
    used_up = np.array(matrix, np.float32, order="F")
    (m, n), least = used_up.shape, min(used_up.shape)
    if _GESDD is not None and least and np.isfinite(used_up).all():
        left, right = np.empty((m, least), np.float32, order="F"), np.empty((n, least), np.float32)
        values, numbers = np.empty(least, np.float32), np.empty(8 * least, np.intc)
        # what it asks for at least, and room for columns that are worked on together
        work = np.empty(4 * least * (least + 7) + 70 * max(m, n), np.float32)
        with one_thread():
            failed = _call(
                _GESDD, b"S", m, n, used_up, m, values, left, m, right, least, work, len(work),
                numbers,
            )  # fmt: skip
        if not failed:
            return left, right.T
        used_up = np.array(matrix, np.float32, order="F")
    left, _, right = np.linalg.svd(used_up, full_matrices=False)
    return left, right
