"""NetCDF files in memory, read by xarray: netCDF4 by h5netcdf, classic netCDF 3 by scipy."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import xarray as xr

from xconverge.io.formats._hdf5 import open_hdf5
from xconverge.io.formats._needs import needs

DURATIONS = xr.coders.CFTimedeltaCoder(decode_via_units=False)


def load_netcdf(file: Path) -> xr.Dataset:
    """All of a file, in memory; durations stay numbers unless xarray wrote them as durations."""
    with file.open("rb") as handle:
        classic = handle.read(3) == b"CDF"
    # from memory: of a file, scipy would make room for any length that a damaged one claims
    source: Any = BytesIO(file.read_bytes()) if classic else file
    how: dict[str, Any] = {"engine": "scipy"}
    if not classic:
        needs("h5netcdf", "netCDF4")
        # dims without a name are those of other HDF5; readers refuse them for want of labels
        how = {"engine": "h5netcdf", "phony_dims": "sort"}
        with open_hdf5(file):
            pass
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Duplicate dimension names", UserWarning)
        with xr.open_dataset(source, decode_timedelta=DURATIONS, **how) as data:
            return data.load()
