"""Read a whole HDF5 file, in a process of its own: ``python -P -c <this file> PATH BYTES``.

What it prints is the fault; exit code 0 means that every byte that matters could be read. It
imports h5py alone, and nothing of this package.
"""

import os
import sys
from importlib import import_module
from typing import Any

DEEPEST = 32
BEST_COMPRESSION = 1100
"""deflate makes at most 1 byte of 1032; what claims to hold more than the file can is damaged."""


def main(path: str, block: int) -> None:
    """Open every link, attribute and dataset, ``block`` bytes at a time."""
    h5py: Any = import_module("h5py")
    size = os.path.getsize(path)
    _limit_memory(size)

    def visit(group: Any, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError(f"groups are nested more than {DEEPEST} deep")
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name!r} is a {type(link).__name__}, which can name other files")
            item = group[name]
            attributes(item)
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                dataset(item)

    def attributes(item: Any) -> None:
        for key in item.attrs:
            value = item.attrs[key]
            if key == "DIMENSION_LIST":
                for references in value:
                    for reference in references:
                        _ = group_of[reference].name

    def dataset(item: Any) -> None:
        if item.external or item.is_virtual:
            raise ValueError(f"{item.name!r} keeps its data in other files")
        if item.shape is None:
            return
        if item.nbytes > BEST_COMPRESSION * size:
            raise ValueError(f"{item.name!r} claims {item.nbytes} bytes, in a file of {size}")
        if not item.shape or not item.size:
            _ = item[()]
            return
        rows = max(1, block // max(1, item.nbytes // item.shape[0]))
        if item.chunks:
            rows = -(-rows // item.chunks[0]) * item.chunks[0]
        for start in range(0, item.shape[0], rows):
            _ = item[start : start + rows]

    with h5py.File(path, "r") as group_of:
        attributes(group_of)
        visit(group_of, 0)


def _limit_memory(size: int) -> None:
    """A damaged length must not take the memory of the machine (Linux only)."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        limit = now + (1 << 30) + 4 * size
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        return


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(1)
