"""Processes that are killed at a chosen change to the file system."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dask
import fsspec.implementations.local  # noqa: F401
import google_crc32c  # noqa: F401
import numpy as np
import psutil  # noqa: F401
import xarray.backends.plugins
import zarr
import zarr.codecs
import zarr.storage

from tests.io.operations import OPERATIONS, Seen, check_end, check_state, graph, prepare, rdms, rest
from xconverge.io.zarr import exchange

FORKS = multiprocessing.get_context("forkserver")
"""Processes of their own, forked from one that has imported everything."""
HEX = re.compile(r"[0-9a-f]{32}")


class Moments:
    """Counts the moments just before and just after each change to the file system.

    At the moment ``fatal`` the process is killed. Else ``states`` tells what is in a folder at
    each of them.
    """

    def __init__(self, folder: Path, fatal: int | None = None) -> None:
        self.folder, self.fatal = folder, fatal
        self.names: list[str] = []
        self.states: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self.lock:
            self.names.append(name)
            if len(self.names) == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fatal is None:
                self.states.append(state(self.folder))

    def wrap(self, owner: Any, name: str, changes: Callable[..., bool] | None = None) -> None:
        """Count what a function changes."""
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if changes is not None and not changes(*args, **kwargs):
                return real(*args, **kwargs)
            what = f"{name} {' '.join(map(str, args[:2]))}"
            self(f"before {what}")
            result = real(*args, **kwargs)
            self(f"after {what}")
            return result

        setattr(owner, name, wrapped)

    def wrap_all(self) -> None:
        """Count all that Python, pathlib, shutil and we change files by."""
        for name in ("rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir"):
            self.wrap(os, name)
        self.wrap(os, "open", lambda path, flags, *_, **__: bool(flags & os.O_CREAT))
        for module in (io, builtins):
            self.wrap(module, "open", _is_written)
        self.wrap(exchange, "exchange")


def _is_written(file: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
    return not isinstance(file, int) and any(letter in mode for letter in "wax+")


real_open = open


def state(folder: Path) -> str:
    """All names and bytes in a folder, but what lies where nobody looks."""
    found = hashlib.sha256()
    for where, folders, files in os.walk(folder):
        folders.sort()
        if _is_unseen(where):
            folders.clear()
            continue
        for name in sorted(files):
            path = os.path.join(where, name)
            found.update(HEX.sub("", path).encode())
            if not name.endswith(".partial"):
                with real_open(path, "rb") as file:
                    found.update(file.read())
        found.update(HEX.sub("", " ".join([where, *folders])).encode())
    return found.hexdigest()


def _is_unseen(folder: str) -> bool:
    """A stage, or what was replaced by what is there."""
    head, aside, name = folder.rpartition(exchange.REPLACED)
    return exchange.STAGE in folder or bool(aside and os.path.exists(head + name))


def forked(call: Callable[[], object], said: Path, seconds: float | None = None) -> int:
    """Do something in a process of its own: its exit code, and in a file what went wrong.

    After ``seconds`` it is killed.
    """
    pid = fork(call, said)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return ended(pid)


def ended(pid: int) -> int:
    """Wait for a process: its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork(call: Callable[[], object], said: Path) -> int:
    """Begin something in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open(said, "a") as text, dask.config.set(scheduler="synchronous"):
                try:
                    call()
                    code = 0
                except BaseException:
                    traceback.print_exc(file=text)
        finally:
            os._exit(code)
    return pid


class Sweep:
    """An operation that is killed again and again, each time at another moment.

    It runs in a process without threads, which can be forked safely.
    """

    def __init__(self, name: str, folder: Path, renameat2: bool) -> None:
        self.name, self.renameat2 = name, renameat2
        self.operation = OPERATIONS[name]
        self.template, self.work = folder / "template", folder / "work"
        self.said, self.told, self.names = folder / "said", folder / "told", folder / "names"

    def start(self) -> list[tuple[int, str]]:
        """Make what is worked on: the moments at which it is in another state than before."""
        self._forked("prepare", partial(prepare, self.template))
        self.before = rest(self.template, self.operation)
        self._afresh()
        self._forked("count", self._count)
        lines = [line.split(" ", 1) for line in self.names.read_text().splitlines()]
        first = {state: at for at, (state, _) in reversed(list(enumerate(lines, 1)))}
        self.every = [(at, what) for at, (_, what) in enumerate(lines, 1)]
        return [(at, lines[at - 1][1]) for at in sorted(first.values())]

    def kill_at(self, at: int) -> None:
        """Kill it at a moment, look, do it again, look; AssertionError where something is wrong."""
        self._afresh()
        code = forked(partial(self._do, Moments(self.work, at)), self.said)
        assert code == -signal.SIGKILL, f"not killed, but {code}: {self.said.read_text()}"
        self._look()

    def kill_after(self, seconds: float) -> bool:
        """The same after a while; whether it was killed before it came to its end."""
        self._afresh()
        code = forked(partial(self._do, None), self.said, seconds)
        assert code in (0, -signal.SIGKILL), self.said.read_text()
        self._look()
        return code != 0

    def seconds(self) -> float:
        """How long it takes when nobody kills it."""
        self._afresh()
        start = time.monotonic()
        self._forked("undisturbed", partial(self._do, None))
        return time.monotonic() - start

    def _look(self) -> None:
        """Old or new is there; and new, once it is done again."""
        written = list(self.told.read_bytes())
        seen = Seen(self.work, False, written, self.renameat2)
        self._forked("after the kill", partial(check_state, self.operation, seen, self.before))
        self._forked("when done again", partial(self._do, None))
        seen = Seen(self.work, True, written)
        self._forked("at the end", partial(check_end, self.operation, seen, self.before))

    def _afresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.template, self.work)
        self.said.write_text("")
        self.told.write_bytes(b"")

    def _forked(self, when: str, call: Callable[[], object]) -> None:
        assert not forked(call, self.said), f"{when}: {self.said.read_text()}"

    def _do(self, moments: Moments | None) -> None:
        file = os.open(str(self.told), os.O_WRONLY | os.O_APPEND)
        if not self.renameat2:
            exchange.exchange = _no_exchange
        if moments is not None:
            # one change after another, so that the k-th is the same each time
            zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
            moments.wrap_all()
        self.operation.do(self.work, lambda rows: os.write(file, bytes(rows)))

    def _count(self) -> None:
        moments, told = Moments(self.work), []

        def hear(event: str, args: Any) -> None:
            if _changes(event, args) and args[0] != str(self.told):
                told.append(event)

        sys.addaudithook(hear)
        self._do(moments)
        # Python itself tells of as many changes: none goes by uncounted
        ours = [name for name in moments.names if re.match("before (?!exchange)", name)]
        assert len(told) == len(ours), f"{told}, and counted: {ours}"
        with real_open(self.names, "w") as text:
            for told, name in zip(moments.states, moments.names, strict=True):
                text.write(f"{told} {name}\n")


def _changes(event: str, args: Any) -> bool:
    """Whether what Python tells of changes files."""
    if event == "open":
        return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and args[0] != os.devnull
    return event in ("os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir")


def _no_exchange(one: Path, other: Path) -> None:
    raise OSError("no such call")


def _warm_up() -> None:
    """Do once what each process would do anew."""
    with suppress(ImportError):
        importlib.import_module("distributed")  # dask asks for it
    xarray.backends.plugins.list_engines()
    for k, scale in ((2, 1.0), (3, 2.0)):
        graph(k)
        rdms(scale)


def _sweep(
    name: str, folder: Path, few: int | None, renameat2: bool, every: bool
) -> tuple[int, list[str]]:
    sweep, faults = Sweep(name, folder, renameat2), []
    chosen = sweep.start()
    if every:
        chosen = sweep.every
    if few is not None:
        spread = np.linspace(0, len(chosen) - 1, few).round().astype(int)
        chosen = [chosen[i] for i in sorted(set(spread.tolist()))]
    for at, what in chosen:
        try:
            sweep.kill_at(at)
        except AssertionError as error:
            faults.append(f"{name}, killed at {at} ({what}): {error}")
    return len(chosen), faults


def swept(
    name: str, folder: Path, few: int | None = None, renameat2: bool = True, every: bool = False
) -> tuple[int, list[str]]:
    """Kill an operation at every state that it goes through: how many there are, and all faults.

    Parameters
    ----------
    name : str
        Of the operation.
    folder : Path
        An empty folder.
    few : int, optional
        Only so many of them, from the first to the last.
    renameat2 : bool
        Whether folders can be exchanged in one step.
    every : bool
        At every moment, also where nothing has changed but in a stage.
    """
    return without_threads(_sweep, name, folder, few, renameat2, every)


def without_threads(call: Callable[..., Any], *args: Any) -> Any:
    """Do something in a process that has no threads, and so can be forked safely."""
    FORKS.set_forkserver_preload([__name__])
    hear, tell = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_tell, args=(tell, call, args))
    process.start()
    tell.close()
    try:
        return hear.recv()
    finally:
        process.join()


def _tell(tell: Connection, call: Callable[..., Any], args: Any) -> None:
    _warm_up()
    tell.send(call(*args))
