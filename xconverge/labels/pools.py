"""One text for a set of stimuli, whatever their order: what graphs of one pool are known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def pool_hash(labels: Iterable[object]) -> str:
    """Hash of a set of labels, the same for any order of them.

    ``sha256:`` and the SHA-256 (hexadecimal) of the labels, sorted by code points, as a JSON list
    without spaces in which all but ASCII is escaped. So no label can run into the next, and any
    language with JSON finds the same.

    Examples
    --------
    >>> pool_hash(["dog", "cat"]) == pool_hash(["cat", "dog"])
    True
    >>> hashlib.sha256(b'["cat","dog"]').hexdigest() in pool_hash(["dog", "cat"])
    True
    """
    told = json.dumps(sorted(map(str, labels)), separators=(",", ":"))
    return f"sha256:{hashlib.sha256(told.encode('ascii')).hexdigest()}"
