"""Dispersion, alignment and RSA of many models and brains, on labelled arrays."""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from typing import Any as _Any

try:
    __version__ = _version("xconverge")
except _PackageNotFoundError:
    # results and stores say which version made them, which a bare checkout does not know
    raise ImportError(
        "xconverge is not installed: run `python -m pip install -e .` in its checkout "
        "(the folder of pyproject.toml)"
    ) from None

from xconverge import accessor as _accessor  # noqa: F401  registers `.xc`
from xconverge.engine.chunks import recommend_chunks
from xconverge.engine.pair import pair
from xconverge.engine.progress import set_options
from xconverge.inference.calibration import calibrate, calibrate_rsa
from xconverge.inference.cross_temporal import cross_temporal_rsa
from xconverge.inference.exact import overlap_p_value
from xconverge.inference.intervals import confidence_interval
from xconverge.inference.latency import latency
from xconverge.inference.reliability import alignment_reliability, reliability
from xconverge.inference.trial_reliability import trial_ceiling, trial_reliability
from xconverge.io.demo import open_demo
from xconverge.io.formats.xarray import from_xarray
from xconverge.io.results import write_study
from xconverge.io.store import (
    append_models,
    create_store,
    open_representations,
    open_store,
    write_representations,
)
from xconverge.io.validate import validate_store
from xconverge.io.writer import ModelWriter
from xconverge.labels.checks import validate
from xconverge.labels.messages import DamagedStoreError, SchemaError, UnalignedSpaceWarning
from xconverge.labels.stack import stack_models
from xconverge.measures.alignment import alignment
from xconverge.measures.dispersion import dispersion
from xconverge.measures.duplicates import find_duplicates
from xconverge.measures.neighbors import local_density, neighbor_graph
from xconverge.measures.preprocess import (
    center,
    clamp,
    pca,
    stimulus_norm,
    unit_rows,
    zscore,
)
from xconverge.measures.rdm import noise_ceiling, rdm, rsa
from xconverge.measures.searchlight import searchlight
from xconverge.measures.shared_space import residual_component, shared_space, transform
from xconverge.study.analysis import analyze
from xconverge.study.binned_rsa import binned_rsa, binned_rsa_contrast
from xconverge.study.binned_searchlight import binned_searchlight
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
    "binned_searchlight",
    "calibrate",
    "calibrate_rsa",
    "center",
    "clamp",
    "confidence_interval",
    "create_store",
    "cross_modal_prediction",
    "cross_temporal_rsa",
    "dispersion",
    "dispersion_bins",
    "exclude_high_dispersion",
    "find_duplicates",
    "from_xarray",
    "latency",
    "leave_out_modulation",
    "local_density",
    "modulation",
    "neighbor_graph",
    "noise_ceiling",
    "open_demo",
    "open_representations",
    "open_store",
    "optimize_stimuli",
    "overlap_p_value",
    "pair",
    "pca",
    "pool_curve",
    "rdm",
    "recommend_chunks",
    "reliability",
    "residual_component",
    "rsa",
    "searchlight",
    "select_models",
    "select_stimuli",
    "set_options",
    "shared_space",
    "stack_models",
    "stimulus_norm",
    "subset_contrast",
    "transform",
    "trial_ceiling",
    "trial_reliability",
    "unit_rows",
    "validate",
    "validate_store",
    "write_representations",
    "write_study",
    "zscore",
]

_LAZY = ("io", "plot", "report", "testing", "torch")
"""Submodules that are imported at their first use: not everybody has what they need."""


def __getattr__(name: str) -> _Any:
    """Import a submodule at its first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Public names alone."""
    return sorted([*__all__, *_LAZY])
