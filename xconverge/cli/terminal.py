"""What the command line prints, on stdout and stderr: text that cannot steer a terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from xconverge.labels.messages import LINES, escaped


class Escaped:
    """A stream of text in which whatever passes is escaped, of libraries too.

    Parameters
    ----------
    unescaped : text stream
        Where it goes; all but writing is that stream's own.
    """

    def __init__(self, unescaped: Any) -> None:
        self.unescaped = unescaped

    def __getattr__(self, name: str) -> Any:
        """What the stream beneath has."""
        return getattr(self.unescaped, name)

    def isatty(self) -> bool:
        """No terminal, or libraries colour their text by what is escaped."""
        return False

    def write(self, text: str) -> int:
        """Write text; what the encoding of the stream lacks is escaped too."""
        encoding = getattr(self.unescaped, "encoding", None) or "utf-8"
        shown = escaped(text, LINES).encode(encoding, "backslashreplace")
        self.unescaped.write(shown.decode(encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)


@contextmanager
def escaping() -> Iterator[None]:
    """Everything that is printed inside, errors and warnings among it, is escaped."""
    usual = warnings.formatwarning
    # who types a command did not write the line that Python would show
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        with redirect_stdout(Escaped(sys.stdout)), redirect_stderr(Escaped(sys.stderr)):
            yield
    finally:
        warnings.formatwarning = usual
