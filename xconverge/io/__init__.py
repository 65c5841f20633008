"""Stores, and the files and objects of other tools.

What this package offers beyond the names on top: readers, writers and converters of other
formats, and what a store holds beside representations. Each is imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# for type checkers and editors, which do not follow the table below; a test compares both
if TYPE_CHECKING:
    from xconverge.io.formats.allen import from_allen, read_allen
    from xconverge.io.formats.arrays import read_npy, read_npz, write_npz
    from xconverge.io.formats.brainio import from_brainio, read_brainio
    from xconverge.io.formats.csv import write_selection
    from xconverge.io.formats.frames import read_csv, read_parquet
    from xconverge.io.formats.mne import from_mne
    from xconverge.io.formats.platonic import read_platonic
    from xconverge.io.formats.rsatoolbox import (
        from_rsatoolbox_dataset,
        read_rsatoolbox_dataset,
        to_rsatoolbox_dataset,
    )
    from xconverge.io.formats.rsatoolbox_rdms import (
        from_rsatoolbox_rdms,
        read_rsatoolbox_rdms,
        to_rsatoolbox_rdms,
    )
    from xconverge.io.formats.tables import from_long, to_long
    from xconverge.io.formats.thingsvision import read_thingsvision
    from xconverge.io.formats.trials import from_trials, read_trials
    from xconverge.io.formats.xarray import read_netcdf, write_netcdf
    from xconverge.io.results import open_neighbors, open_rdms, write_neighbors, write_rdms
    from xconverge.io.store import modalities

__all__ = [
    "from_allen",
    "from_brainio",
    "from_long",
    "from_mne",
    "from_rsatoolbox_dataset",
    "from_rsatoolbox_rdms",
    "from_trials",
    "modalities",
    "open_neighbors",
    "open_rdms",
    "read_allen",
    "read_brainio",
    "read_csv",
    "read_netcdf",
    "read_npy",
    "read_npz",
    "read_parquet",
    "read_platonic",
    "read_rsatoolbox_dataset",
    "read_rsatoolbox_rdms",
    "read_thingsvision",
    "read_trials",
    "to_long",
    "to_rsatoolbox_dataset",
    "to_rsatoolbox_rdms",
    "write_neighbors",
    "write_netcdf",
    "write_npz",
    "write_rdms",
    "write_selection",
]

_HOME = {
    "from_allen": "formats.allen",
    "from_brainio": "formats.brainio",
    "from_long": "formats.tables",
    "from_mne": "formats.mne",
    "from_rsatoolbox_dataset": "formats.rsatoolbox",
    "from_rsatoolbox_rdms": "formats.rsatoolbox_rdms",
    "from_trials": "formats.trials",
    "modalities": "store",
    "open_neighbors": "results",
    "open_rdms": "results",
    "read_allen": "formats.allen",
    "read_brainio": "formats.brainio",
    "read_csv": "formats.frames",
    "read_netcdf": "formats.xarray",
    "read_npy": "formats.arrays",
    "read_npz": "formats.arrays",
    "read_parquet": "formats.frames",
    "read_platonic": "formats.platonic",
    "read_rsatoolbox_dataset": "formats.rsatoolbox",
    "read_rsatoolbox_rdms": "formats.rsatoolbox_rdms",
    "read_thingsvision": "formats.thingsvision",
    "read_trials": "formats.trials",
    "to_long": "formats.tables",
    "to_rsatoolbox_dataset": "formats.rsatoolbox",
    "to_rsatoolbox_rdms": "formats.rsatoolbox_rdms",
    "write_neighbors": "results",
    "write_netcdf": "formats.xarray",
    "write_npz": "formats.arrays",
    "write_rdms": "results",
    "write_selection": "formats.csv",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names alone."""
    return __all__
