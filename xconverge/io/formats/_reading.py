"""What readers of files share: regular files alone, errors that name the cause, keywords."""

from __future__ import annotations

import inspect
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, cast

import xarray as xr

from xconverge.engine.resources import free_bytes
from xconverge.io.paths import FilePath, local_path
from xconverge.labels.messages import SchemaError, escaped

Keywords = ParamSpec("Keywords")
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def keywords_of(
    convert: Callable[Concatenate[Any, Keywords], xr.DataArray],
) -> Callable[
    [Callable[..., xr.DataArray]], Callable[Concatenate[FilePath, Keywords], xr.DataArray]
]:
    """Say that a reader ``(path, **options)`` takes the keywords of the converter of objects."""

    def named(
        read: Callable[..., xr.DataArray],
    ) -> Callable[Concatenate[FilePath, Keywords], xr.DataArray]:
        path = next(iter(inspect.signature(read).parameters.values()))
        same = inspect.signature(convert)
        parameters = [path, *list(same.parameters.values())[1:]]
        # no wrapper: doctest passes over functions whose globals are of another module
        vars(read)["__signature__"] = same.replace(parameters=parameters)
        return cast(Callable[Concatenate[FilePath, Keywords], xr.DataArray], read)

    return named


@contextmanager
def reading(path: FilePath, what: str) -> Iterator[Path]:
    """Read a regular file, ``what`` it should be: all that its library raises is a SchemaError."""
    file = local_path(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no file {escaped(file)}")
    # before it is opened: a FIFO has no first byte, and a device no last one
    found = file.stat()
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "" if found.st_size else "empty")
    if kind:
        raise SchemaError(
            f"{file} cannot be read as {what}: it is {kind}, and a regular file that holds "
            "something is needed"
        )
    try:
        yield file
    except (SchemaError, FileNotFoundError, ImportError):
        raise
    except Exception as error:
        raise SchemaError(
            f"{file} cannot be read as {what}: {type(error).__name__}: {error}. It may be damaged, "
            "or of another kind"
        ) from error


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse to make room for more than there is."""
    free = free_bytes()
    if n_bytes > free:
        raise SchemaError(
            f"{what} claims {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB of memory are "
            "free; it may be damaged. If it is that large, convert it to .npy or to a store, "
            "which are read in parts"
        )
