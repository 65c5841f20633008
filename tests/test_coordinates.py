"""Coordinates of any name change no number: also those named like variables and dims of results."""

import numpy as np

from xconverge.labels.variables import VARIABLES

FIXED = ["network", "layer", "subject", "region", "time", "repetition"]
DIMS = [
    "bin", "subset", "control", "pool", "measure", "iteration", "component", "neighbor", "model_a",
    "model_b", "model_2", "stimulus_2", "criterion", "criterion_2", "pool_size", "neighbors",
    "layer_a", "layer_b", "feature", "repeat", "stimulus_id", "network_a", "subject_b",
    "correlation_of_mean", "p_value_of_mean", "n_stimuli_of_mean", "alignment_by_bin_of_mean",
    "position", "estimate_of_mean", "rsa_by_bin", "family_group", "n_features_a", "group",
    "low_minus_high_p_value", "model", "stimulus",
]  # fmt: skip
# `n_features` is the one coordinate whose values count, wherever it lies
NAMES = sorted({*VARIABLES, *FIXED, *DIMS} - {"n_features"})


def decorated(array, names, place, salt):
    """The array with coordinates of these names: on a dim, or scalar; other values on each side."""
    coords = {}
    for number, name in enumerate(names):
        if name in array.dims or (name in array.coords and name != "n_models"):
            continue
        if place == "scalar":
            coords[name] = f"{salt}{number}"
        elif place in array.dims:
            values = [f"{salt}{number}.{i}" for i in range(array.sizes[place])]
            coords[name] = (place, np.array(values, dtype=object))
    return array.assign_coords(coords)
