"""Figures of results. Every function takes what a measure returned, and draws on ``ax``."""

from xconverge.plot.figures import (
    alignment_by_bin,
    alignment_matrix,
    binned_rsa,
    cross_temporal,
    models_by_subset,
    rsa_by_bin,
    stimuli,
    time_course,
)

__all__ = [
    "alignment_by_bin",
    "alignment_matrix",
    "binned_rsa",
    "cross_temporal",
    "models_by_subset",
    "rsa_by_bin",
    "stimuli",
    "time_course",
]


def __dir__() -> list[str]:
    """Public names alone."""
    return __all__
