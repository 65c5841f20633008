"""Small files of a group that change together.

What changes is written down in one file, the commit, and from there to its places; whoever finds
a commit carries it out before reading on.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping

import numpy as np

from xconverge.io.zarr.backends import Backend, KeyValueBackend
from xconverge.io.zarr.checksums import checksum
from xconverge.io.zarr.encoding import NAME
from xconverge.labels.messages import DamagedStoreError

COMMIT = f"{NAME}/.commit"
OF_A_GROUP = re.compile(r"([^/\\.][^/\\]*/)?(zarr\.json|c(/\d+)*)")
"""What a commit may write: metadata and chunks of the group, and nothing outside of it."""


def commit(backend: KeyValueBackend, files: Mapping[str, bytes]) -> None:
    """Change small files of a group together; the caller holds the lock of the root."""
    listed = {key: base64.b64encode(data).decode() for key, data in files.items()}
    text = json.dumps(listed).encode()
    backend.put(COMMIT, text, b"\n%d" % checksum(np.frombuffer(text, np.uint8)))
    replay(backend)


def replay(backend: Backend) -> None:
    """Carry out a commit, if there is one; the caller holds the lock of the root."""
    if not isinstance(backend, KeyValueBackend) or not backend.exists(COMMIT):
        return
    text, _, crc = backend.read(COMMIT).tobytes().rpartition(b"\n")
    files: dict[str, str] = {}
    if crc.isdigit() and int(crc) == checksum(np.frombuffer(text, np.uint8)):
        files = json.loads(text)
    # a store may come from a stranger: a path that leads out of the group is damage
    if not files or not all(OF_A_GROUP.fullmatch(name) for name in files):
        raise DamagedStoreError(
            f"{backend / COMMIT} is damaged; delete it if the modality opens without it"
        )
    # each put is whole, and twice is as good as once: a crash in between is replayed
    for name, data in files.items():
        backend.put(name, base64.b64decode(data))
    backend.remove(COMMIT)


def recover(root: Backend, backend: Backend) -> bytes | None:
    """Carry out a commit that someone left behind, and tell the state of the group.

    The state is the metadata of the representations, which a commit changes last.
    """
    if not isinstance(backend, KeyValueBackend) or not isinstance(root, KeyValueBackend):
        return None
    if backend.exists(COMMIT):
        try:
            with root.lock(f"writing {backend}"):
                replay(backend)
        except PermissionError as error:
            raise PermissionError(
                f"{backend} was interrupted while models were added, and cannot be finished "
                "without the right to write; open it once as its owner"
            ) from error
    try:
        return backend.read(f"{NAME}/zarr.json").tobytes()
    except FileNotFoundError:
        return None
