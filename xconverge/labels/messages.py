"""Errors and warnings, and how labels are shown in them."""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

# controls; separators of lines and paragraphs; what turns the direction of writing; and what is no
# text at all, as bytes of a path that are not UTF-8
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LINES = "\n\t"
"""What our own text may lay itself out with."""


def escaped(text: object, keep: str = "") -> str:
    r"""Text of others as a terminal may show it, ``\x1b`` for what would steer it.

    ``keep`` are characters that stay. Escaping twice is escaping once.
    """
    return UNSEEN.sub(
        lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], str(text)
    )


class SchemaError(ValueError):
    """Data that does not fit the data model; the message says what, where, and what to do."""

    def __init__(self, message: object = "") -> None:
        # paths, and what libraries say, are in it as they are
        super().__init__(escaped(message, LINES))


class DamagedStoreError(SchemaError):
    """A file of a store is not what was written; the message names the model and the stimuli."""


class UnalignedSpaceWarning(UserWarning):
    """Coordinates of models whose axes are unrelated are being compared."""


def listing(labels: Iterable[object], limit: int = 5) -> str:
    """A few labels and how many there are: ``'a', 'b', … (12 in all)``."""
    labels = list(labels)
    few = ", ".join(shown(label) for label in labels[:limit])
    return few if len(labels) <= limit else f"{few}, … ({len(labels)} in all)"


LONGEST = 80
"""Characters of a label that an error shows whole."""


def shown(label: object) -> str:
    """A label in quotes; of a long one the beginning, the end and its length."""
    text = str(label)
    if len(text) <= LONGEST:
        return repr(text)
    return f"{text[: LONGEST // 2]!r}…{text[-LONGEST // 4 :]!r} ({len(text):,} characters)"


def bare(label: str) -> str:
    """The label without what nobody sees: its Unicode form, and spaces around it."""
    return label.strip() if label.isascii() else unicodedata.normalize("NFC", label).strip()


def apart(one: str, other: str) -> str:
    """Two labels so that one sees how they differ."""
    hidden = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return " and ".join(shown(ascii(name)[1:-1] if hidden else name) for name in (one, other))


def choose(name: str, value: Any, choices: Iterable[str]) -> Any:
    """An argument, refused where it is not one of its choices."""
    choices = list(choices)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be text, one of {', '.join(choices)}; got {name}={reprlib.repr(value)} "
            f"({type(value).__name__})"
        )
    if value not in choices:
        near = difflib.get_close_matches(value.lower().replace("-", "_"), choices, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"{name}={shown(value)} is not known{meant}; choose one of {', '.join(choices)}"
        )
    return value
