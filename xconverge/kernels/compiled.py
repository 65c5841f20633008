"""Where loops in machine code take the place of numpy, which needs several passes for the same.

They are in `loops`, need numba (the extra ``fast``) and change no result but by rounding.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

WORTH = 2**22
"""Entries from which on it pays to load numba, a quarter of a second in every process."""


def loops(entries: int) -> ModuleType | None:
    """The module of loops, for work on so many entries; None where numpy is to do it."""
    return _loops() if entries >= WORTH else None


@cache
def _loops() -> ModuleType | None:
    try:
        import numba

        from xconverge.kernels import loops
    except ImportError:
        return None
    # without the compiler a loop over entries takes a thousand times as long
    disabled = getattr(numba.config, "DISABLE_JIT", False)
    return None if disabled else loops
