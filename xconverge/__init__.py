"""Dispersion, alignment and RSA of many models and brains, on labelled arrays."""

from importlib.metadata import version as _version

__version__ = _version("xconverge")

from xconverge.engine.chunks import recommend_chunks
from xconverge.engine.pair import pair
from xconverge.inference.calibration import calibrate, calibrate_rsa
from xconverge.inference.exact import overlap_p_value
from xconverge.inference.intervals import confidence_interval
from xconverge.inference.reliability import alignment_reliability, reliability
from xconverge.io.formats.allen import from_allen, read_allen
from xconverge.io.formats.arrays import read_npy, read_npz, write_npz
from xconverge.io.formats.brainio import from_brainio, read_brainio
from xconverge.io.formats.csv import write_selection
from xconverge.io.formats.frames import read_csv, read_parquet
from xconverge.io.formats.platonic import read_platonic
from xconverge.io.formats.rsatoolbox import (
    from_rsatoolbox_dataset,
    from_rsatoolbox_rdms,
    read_rsatoolbox_dataset,
    read_rsatoolbox_rdms,
    to_rsatoolbox_dataset,
    to_rsatoolbox_rdms,
)
from xconverge.io.formats.tables import from_long, to_long
from xconverge.io.formats.thingsvision import read_thingsvision
from xconverge.io.formats.xarray import from_xarray, read_netcdf, write_netcdf
from xconverge.io.store import (
    append_models,
    create_store,
    open_neighbors,
    open_rdms,
    open_representations,
    open_store,
    write_neighbors,
    write_rdms,
    write_representations,
    write_study,
)
from xconverge.io.validate import validate_store
from xconverge.io.writer import ModelWriter
from xconverge.labels.checks import validate
from xconverge.labels.messages import DamagedStoreError, SchemaError, UnalignedSpaceWarning
from xconverge.labels.stack import stack_models
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import dispersion
from xconverge.measures.graph import neighbor_graph
from xconverge.measures.neighbors import local_density
from xconverge.measures.norms import stimulus_norm
from xconverge.measures.preprocess import center, clamp, pca, unit_rows, zscore
from xconverge.measures.rdm import noise_ceiling, rdm, rsa
from xconverge.measures.residuals import residual_component
from xconverge.measures.shared_space import shared_space, transform
from xconverge.study.analysis import analyze
from xconverge.study.binned_rsa import binned_rsa, binned_rsa_contrast
from xconverge.study.bins import dispersion_bins
from xconverge.study.contrast import subset_contrast
from xconverge.study.leave_out import leave_out_modulation
from xconverge.study.modulation import modulation
from xconverge.study.pool import pool_curve
from xconverge.study.selection.curate import exclude_high_dispersion
from xconverge.study.selection.models import select_models
from xconverge.study.selection.optimize import optimize_stimuli
from xconverge.study.selection.prediction import cross_modal_prediction
from xconverge.study.selection.stimuli import select_stimuli

__all__ = [
    "DamagedStoreError",
    "ModelWriter",
    "SchemaError",
    "UnalignedSpaceWarning",
    "alignment",
    "alignment_reliability",
    "analyze",
    "append_models",
    "binned_rsa",
    "binned_rsa_contrast",
    "calibrate",
    "calibrate_rsa",
    "center",
    "clamp",
    "confidence_interval",
    "create_store",
    "cross_modal_prediction",
    "dispersion",
    "dispersion_bins",
    "exclude_high_dispersion",
    "from_allen",
    "from_brainio",
    "from_long",
    "from_rsatoolbox_dataset",
    "from_rsatoolbox_rdms",
    "from_xarray",
    "leave_out_modulation",
    "local_density",
    "modulation",
    "neighbor_graph",
    "noise_ceiling",
    "open_neighbors",
    "open_rdms",
    "open_representations",
    "open_store",
    "optimize_stimuli",
    "overlap_p_value",
    "pair",
    "pca",
    "pool_curve",
    "rdm",
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
    "recommend_chunks",
    "reliability",
    "residual_component",
    "rsa",
    "select_models",
    "select_stimuli",
    "shared_space",
    "stack_models",
    "stimulus_norm",
    "subset_contrast",
    "to_long",
    "to_rsatoolbox_dataset",
    "to_rsatoolbox_rdms",
    "transform",
    "unit_rows",
    "validate",
    "validate_store",
    "write_neighbors",
    "write_netcdf",
    "write_npz",
    "write_rdms",
    "write_representations",
    "write_selection",
    "write_study",
    "zscore",
]
