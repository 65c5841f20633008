"""Triangular factors by LAPACK, while other threads go on.

scipy's own wrappers hold the interpreter's lock: tasks side by side would wait for each other. What
ctypes calls does not. The addresses are those that scipy offers to other compilers, in
``scipy.linalg.cython_lapack``.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
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
    if not types or not all(re.fullmatch(rb"(char|int|\w+_d) \*", kind) for kind in types):
        return None
    address = api.PyCapsule_GetPointer(capsule, signature)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(types))(address)


_POTRF, _POTRI, _TRTRS = (_function(name) for name in ("dpotrf", "dpotri", "dtrtrs"))


def _call(function: Callable[..., None], *arguments: Any) -> int:
    """What LAPACK says of a call: 0 if all is well. Text, integers and arrays go by address."""
    told = ctypes.c_int(-1)
    kept: list[Any] = []
    for one in arguments:
        if isinstance(one, np.ndarray):
            kept.append(ctypes.c_void_p(one.ctypes.data))
        else:
            kept.append(
                ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.byref(ctypes.c_int(one))
            )
    function(*kept, ctypes.byref(told))
    return told.value


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
