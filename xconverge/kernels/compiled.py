"""Where loops in machine code take the place of numpy, which needs several passes for the same.

They are in `loops`, need numba (the extra ``fast``) and change no result but by rounding.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

WORTH = 2**21
"""Entries from which on it pays to load numba, a quarter of a second in every process."""
LONGEST = 20
"""Of lists that entries are put into one by one: of rows in order, every entry goes into one."""


def loops(entries: int, k: int = 1) -> ModuleType | None:
    """The module of loops, for so many entries and lists of k; None where numpy is to do it."""
    return _loops() if entries >= WORTH and k <= LONGEST else None


@cache
def _loops() -> ModuleType | None:
    try:
        import numba

        from xconverge.kernels import loops
    except (ImportError, OSError):
        # it may be there and not load: a numpy or a system that it does not know
        return None
    # without the compiler a loop over entries takes a thousand times as long
    disabled = getattr(numba.config, "DISABLE_JIT", False)
    return None if disabled else loops
