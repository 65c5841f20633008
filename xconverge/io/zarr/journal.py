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

from xconverge.io.zarr.backends import Files, Place
from xconverge.io.zarr.checksums import checksum
from xconverge.io.zarr.encoding import NAME
from xconverge.labels.messages import DamagedStoreError

COMMIT = f"{NAME}/.commit"
OF_A_GROUP = re.compile(r"([^/\\.][^/\\]*/)?(zarr\.json|c(/\d+)*)")
"""What a commit may write: metadata and chunks of the group, and nothing outside of it."""


def commit(place: Files, files: Mapping[str, bytes]) -> None:
    """Change small files of a group together; the caller holds the lock of the root."""
    listed = {key: base64.b64encode(data).decode() for key, data in files.items()}
    text = json.dumps(listed).encode()
    place.put(COMMIT, text, b"\n%d" % checksum(np.frombuffer(text, np.uint8)))
    carry_out(place)


def carry_out(place: Place) -> None:
    """Carry out a commit, if there is one; the caller holds the lock of the root."""
    if not isinstance(place, Files) or not place.exists(COMMIT):
        return
    text, _, crc = place.read(COMMIT).tobytes().rpartition(b"\n")
    files: dict[str, str] = {}
    if crc.isdigit() and int(crc) == checksum(np.frombuffer(text, np.uint8)):
        files = json.loads(text)
    if not files or not all(OF_A_GROUP.fullmatch(name) for name in files):
        raise DamagedStoreError(
            f"{place / COMMIT} is damaged; delete it if the modality opens without it"
        )
    for name, data in files.items():
        place.put(name, base64.b64decode(data))
    place.remove(COMMIT)


def finish_commit(root: Place, place: Place) -> bytes | None:
    """Carry out a commit that someone left behind, and tell the state of the group.

    The state is the metadata of the representations, which a commit changes last.
    """
    if not isinstance(place, Files) or not isinstance(root, Files):
        return None
    if place.exists(COMMIT):
        try:
            with root.lock(f"writing {place}"):
                carry_out(place)
        except PermissionError as error:
            raise PermissionError(
                f"{place} was interrupted while models were added, and cannot be finished without "
                "the right to write; open it once as its owner"
            ) from error
    try:
        return place.read(f"{NAME}/zarr.json").tobytes()
    except FileNotFoundError:
        return None
