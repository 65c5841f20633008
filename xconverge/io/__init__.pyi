"""The public names of ``xconverge.io``, each imported at its first use."""

from .formats.allen import from_allen as from_allen
from .formats.allen import read_allen as read_allen
from .formats.arrays import read_npy as read_npy
from .formats.arrays import read_npz as read_npz
from .formats.arrays import write_npz as write_npz
from .formats.brainio import from_brainio as from_brainio
from .formats.brainio import read_brainio as read_brainio
from .formats.csv import write_selection as write_selection
from .formats.frames import read_csv as read_csv
from .formats.frames import read_parquet as read_parquet
from .formats.mne import from_mne as from_mne
from .formats.platonic import read_platonic as read_platonic
from .formats.rsatoolbox import from_rsatoolbox_dataset as from_rsatoolbox_dataset
from .formats.rsatoolbox import read_rsatoolbox_dataset as read_rsatoolbox_dataset
from .formats.rsatoolbox import to_rsatoolbox_dataset as to_rsatoolbox_dataset
from .formats.rsatoolbox_rdms import from_rsatoolbox_rdms as from_rsatoolbox_rdms
from .formats.rsatoolbox_rdms import read_rsatoolbox_rdms as read_rsatoolbox_rdms
from .formats.rsatoolbox_rdms import to_rsatoolbox_rdms as to_rsatoolbox_rdms
from .formats.tables import from_long as from_long
from .formats.tables import to_long as to_long
from .formats.thingsvision import read_thingsvision as read_thingsvision
from .formats.trials import from_trials as from_trials
from .formats.trials import read_trials as read_trials
from .formats.xarray import read_netcdf as read_netcdf
from .formats.xarray import write_netcdf as write_netcdf
from .graphs import merge_neighbors as merge_neighbors
from .manifest import read_manifest as read_manifest
from .manifest import write_manifest as write_manifest
from .results import open_neighbors as open_neighbors
from .results import open_rdms as open_rdms
from .results import write_neighbors as write_neighbors
from .results import write_rdms as write_rdms
from .store import modalities as modalities

__all__: list[str]
