"""What readers of files share: errors that name the file and the cause, keywords given on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, cast

import xarray as xr

from xconverge.io.paths import FilePath, local_path
from xconverge.labels.messages import SchemaError, escaped

Keywords = ParamSpec("Keywords")


def keywords_of(
    convert: Callable[Concatenate[Any, Keywords], xr.DataArray],
) -> Callable[
    [Callable[..., xr.DataArray]], Callable[Concatenate[FilePath, Keywords], xr.DataArray]
]:
    """Say that a reader ``(path, **options)`` takes the keywords of the converter of objects.

    They are written once, there; help, type checkers and the command line see them here too.
    """

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
    """Read a file that may be damaged: whatever its library raises becomes a SchemaError.

    Parameters
    ----------
    path : path
        The file; it must be there.
    what : str
        What it should be: ``"a NumPy .npy file"``.
    """
    file = local_path(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no file {escaped(file)}")
    try:
        yield file
    except (SchemaError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise SchemaError(
            f"{file} cannot be read as {what}: {type(error).__name__}: {error}. It may be damaged, "
            "or of another kind"
        ) from error
