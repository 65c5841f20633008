"""Whether a store is as it was written: labels and values, and on request every chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xconverge.io.zarr import groups
from xconverge.io.zarr.backends import Backend, StorePath
from xconverge.io.zarr.chunks_on_disk import Layout
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.incomplete import FLAT, INCOMPLETE, IncompleteModel, incomplete_models
from xconverge.io.zarr.reader import ChunkReader
from xconverge.io.zarr.root import Options, existing_store, modality_names
from xconverge.labels.arguments import flags
from xconverge.labels.checks import validate
from xconverge.labels.messages import SchemaError


def validate_store(
    path: StorePath, *, deep: bool = False, storage_options: Options | None = None
) -> None:
    """Check every label and value of a store, and with ``deep`` every chunk of it.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    deep : bool
        Read every chunk of every array, coordinates, neighbour graphs, RDMs and models that are
        not complete among them, and go on after one that is damaged, so that all are found. A
        store without it is read up to the first damage of each modality.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them.

    Raises
    ------
    SchemaError
        One error that names every fault: what `validate` finds, and chunks that are missing,
        truncated or changed, with their model and stimuli. `DamagedStoreError` where it is damage
        alone.
    FileNotFoundError
        There is no store.

    Notes
    -----
    Chunks that we wrote have a checksum (crc32c), and none of them may be missing. Of stores that
    others wrote, only what fails to decode is found. ``zarr.json`` files have no checksum.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xconverge import stack_models, write_representations
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> write_representations(path, reps, modality="vision")
    >>> validate_store(path, deep=True)
    """
    root = existing_store(path, storage_options)
    flags(deep=deep)
    names = modality_names(root)
    # first damage: values of a damaged chunk cannot be judged
    faults = damage(root) if deep else []
    if not faults:
        faults = [f"{name}: {fault}" for name in names for fault in modality_faults(root, name)]
    if faults:
        raise SchemaError("\n".join(faults))


def modality_faults(root: Backend, name: str) -> list[str]:
    """What is wrong with the labels and values of a modality."""
    try:
        validate(groups.open_array(root, name))
    except SchemaError as error:
        return str(error).splitlines()
    return []


def damage(root: Backend) -> list[str]:
    """Every chunk of a store that is missing or is not what was written."""
    found = [fault for backend in _groups(root) for fault in _damage_of_group(root, backend)]
    if not found:
        for name in (root / INCOMPLETE).names():
            found += _damage_of_rows(incomplete_models(root, name))
    return found


def _damage_of_rows(incomplete: list[IncompleteModel]) -> list[str]:
    return [
        f"{one.backend}, model {one.model!r}: rows that wait for their chunks are damaged; start "
        "ModelWriter again, which has them pending"
        for one in incomplete
        if not one.written()[1]
    ]


def _groups(backend: Backend) -> Iterator[Backend]:
    """A group and all below it."""
    yield backend
    for name in backend.names():
        if (backend / name).is_group():
            yield from _groups(backend / name)


def _damage_of_group(root: Backend, backend: Backend) -> Iterator[str]:
    pending = str(backend).startswith(str(root / INCOMPLETE))
    for name in backend.names():
        metadata = (backend / name).metadata() or {}
        if metadata.get("node_type") != "array":
            continue
        layout = Layout.of(metadata, FLAT if pending else "/")
        dims = metadata.get("dimension_names") or [
            f"dim_{i}" for i in range(len(metadata["shape"]))
        ]
        if name == NAME and layout is not None:
            whole = groups.is_whole(backend) and not pending
            reader = ChunkReader.of_layout(backend, name, dims, layout, whole)
            yield from _told(reader.chunk, layout.indices())
        else:
            checked = _Checked(backend, name, metadata, pending)
            yield from _told(checked, groups.chunk_indices(metadata))


def _told(read: Callable[[Any], object], indices: Any) -> Iterator[str]:
    """What reading each chunk complains about."""
    for index in indices:
        try:
            read(index)
        except SchemaError as error:
            yield str(error)


class _Checked:
    """Reads chunks of a variable by Zarr, and says which one fails."""

    def __init__(
        self, backend: Backend, name: str, metadata: dict[str, Any], pending: bool
    ) -> None:
        import zarr

        self.backend, self.name = backend, name
        self.steps: list[int] = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        path = f"{backend.inside}/{name}".lstrip("/")
        self.array = zarr.open_array(backend.store, path=path, mode="r")
        self.whole = groups.is_whole(backend) and not pending

    def __call__(self, index: tuple[int, ...]) -> None:
        """Read one chunk."""
        region = tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, self.steps, strict=True))
        with groups.damage_of(self.backend, f"chunk {index} of {self.name!r}"):
            if self.whole:
                groups.check_chunk(self.backend, self.name, index)
            self.array[region]
