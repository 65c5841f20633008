import pytest

from xconverge.io.formats import _hdf5


@pytest.fixture
def unguarded(monkeypatch):
    """HDF5 files are good here, and are read at once; test_hdf5.py has the others."""
    monkeypatch.setattr(_hdf5, "check_hdf5", lambda file: None)
