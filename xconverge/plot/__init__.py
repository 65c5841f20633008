"""Figures of results: what measures and studies return goes in, and is drawn on ``ax``."""

from xconverge.plot.alignment import alignment_matrix, pool_curve, subset_contrast
from xconverge.plot.models import models_by_subset
from xconverge.plot.modulation import alignment_by_bin, dispersion_alignment, dispersion_histogram
from xconverge.plot.rdms import rdm
from xconverge.plot.rsa import binned_rsa, rsa_by_bin
from xconverge.plot.selection import selection
from xconverge.plot.spaces import consensus_map, convergence
from xconverge.plot.stimuli import stimuli
from xconverge.plot.time import cross_temporal, time_course

__all__ = [
    "alignment_by_bin",
    "alignment_matrix",
    "binned_rsa",
    "consensus_map",
    "convergence",
    "cross_temporal",
    "dispersion_alignment",
    "dispersion_histogram",
    "models_by_subset",
    "pool_curve",
    "rdm",
    "rsa_by_bin",
    "selection",
    "stimuli",
    "subset_contrast",
    "time_course",
]


def __dir__() -> list[str]:
    """Public names alone."""
    return __all__
