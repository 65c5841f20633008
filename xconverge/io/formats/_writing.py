"""What every writer of a file shares: the file appears when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from xconverge.io.paths import FilePath, local_path
from xconverge.labels.arguments import flags
from xconverge.labels.messages import escaped


@contextmanager
def writing(path: FilePath, *, overwrite: bool) -> Iterator[Path]:
    """A file to fill, which takes the place of ``path`` if nothing went wrong."""
    flags(overwrite=overwrite)
    target = local_path(path)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{escaped(target)} is there already; overwrite=True replaces it")
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
