"""Real data that is shipped with the package, to try things out on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import xarray as xr

from xconverge.io.store import open_representations, open_store
from xconverge.labels.messages import choose

DEMOS = {
    "emoji": {"vision": "vision", "language": "language"},
    "images92": {
        "vision": "images92",
        "human_it": "images92_it",
        "monkey_it": "monkey_it",
        "behaviour": "behaviour",
    },
}
"""What each demo has, and the group of the shipped store that it is."""


@contextmanager
def shipped() -> Iterator[Path]:
    """The folder with the data that is shipped with the package."""
    with as_file(files("xconverge.cli") / "demo_data") as folder:
        yield folder


def open_demo(name: str = "emoji") -> dict[str, xr.DataArray]:
    """Real data to try things out on; it comes with the package.

    Parameters
    ----------
    name : {"emoji", "images92"}
        ``emoji``: 1,380 emoji, as images and as captions. ``images92``: 92 photographs of objects,
        and recordings of human and monkey inferior temporal cortex (IT).

    Returns
    -------
    dict of str to DataArray
        In memory. Of ``emoji``: ``vision`` (10 models) and ``language`` (6 models), which
        ``analyze`` takes as they are. Of ``images92``: ``vision`` (10 models), and the RDMs
        ``human_it`` (subject, session, stimulus, stimulus_2), ``monkey_it`` (stimulus, stimulus_2)
        and ``behaviour`` (subject, stimulus, stimulus_2). Each says its ``source`` and ``licence``
        in attrs.

    Raises
    ------
    ValueError
        There is no demo of this name.

    Examples
    --------
    >>> demo = open_demo("emoji")
    >>> {name: dict(reps.sizes) for name, reps in demo.items()}["language"]
    {'model': 6, 'stimulus': 1380, 'feature': 384}
    """
    choose("name", name, list(DEMOS))
    found = {}
    with shipped() as folder:
        store = folder / "demo.zarr"
        tree = open_store(store)
        for key, group in DEMOS[name].items():
            if "representation" in tree[group].data_vars:
                # kept in half precision, to be small
                one = open_representations(store, group).load().astype(np.float32)
            else:
                one = tree[group].to_dataset()["rdm"].load()
            found[key] = one.assign_attrs({**tree[group].attrs, **one.attrs})
    return found
