"""What every reader of a file shares: one kind of error, which names the file and the cause."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xconverge.labels.messages import SchemaError


@contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Read a file that may be damaged: whatever its library raises becomes a SchemaError.

    Parameters
    ----------
    path : path
        The file; it must be there.
    what : str
        What it should be: ``"a NumPy .npy file"``.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        yield file
    except (SchemaError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise SchemaError(
            f"{file} cannot be read as {what}: {type(error).__name__}: {error}. It may be damaged, "
            "or of another kind"
        ) from error
