"""NetCDF files in memory: netCDF4 (HDF5) by h5netcdf, classic netCDF 3 by scipy."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import xarray as xr

from xconverge.io.formats import _hdf5
from xconverge.io.formats._needs import needs
from xconverge.io.formats._sets import check_memory
from xconverge.labels.messages import SchemaError

DURATIONS = xr.coders.CFTimedeltaCoder(decode_via_units=False)


def load_netcdf(file: Path) -> xr.Dataset:
    """All of a file, in memory; durations stay numbers unless xarray wrote them as durations."""
    with file.open("rb") as handle:
        start = handle.read(4)
    classic = start in (b"CDF\x01", b"CDF\x02")
    if not classic and not _hdf5.is_hdf5(file):
        raise SchemaError(
            f"{file} is no netCDF file: it starts with {start!r}, not with 'CDF' or the signature "
            "of HDF5"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Duplicate dimension names", UserWarning)
        with _opened_classic(file) if classic else _opened_hdf5(file) as data:
            return data.load()


def _opened_classic(file: Path) -> xr.Dataset:
    # from memory: of a file, scipy would make room for any length that a damaged one claims
    check_memory(2 * file.stat().st_size, str(file))
    content = BytesIO(file.read_bytes())
    return xr.open_dataset(content, engine="scipy", decode_timedelta=DURATIONS)


def _opened_hdf5(file: Path) -> xr.Dataset:
    needs("h5netcdf", "netCDF4")
    _hdf5.check_hdf5(file)
    # dims without a name are those of other HDF5; readers refuse them for want of labels
    return xr.open_dataset(file, engine="h5netcdf", phony_dims="sort", decode_timedelta=DURATIONS)
