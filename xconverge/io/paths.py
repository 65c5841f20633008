"""Paths as users write them: the one place where ``~`` becomes the home folder."""

from __future__ import annotations

import os
from pathlib import Path

FilePath = str | os.PathLike[str]


def local_path(path: FilePath) -> Path:
    """A path of this machine, ``~`` and ``~user`` as the home folder.

    As xarray has it, and a shell: else a store that ``Dataset.to_zarr("~/x.zarr")`` wrote is not
    found, and ours lies in a folder that is called ``~``.
    """
    return Path(os.path.expanduser(os.fspath(path)))
