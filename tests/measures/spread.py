"""What the tests of dispersion share."""

from __future__ import annotations

from tests import oracles

PAIRED = ["cosine", "correlation", "euclidean", "sqeuclidean"]
COORDINATE = [*PAIRED, "consensus"]
BASIS_FREE = ["neighborhood", "rdm"]
EVERY = [*COORDINATE, *BASIS_FREE]
TOLERANCE = {"float16": 1e-6, "float32": 1e-6, "float64": 1e-10, "int16": 1e-10, "int64": 1e-10}
GAPS = [(0, 1), (1, 1), (2, 1), (0, 3), (3, 5)]
"""Rows that are missing: stimulus 1 is left with one model of four."""


def options(metric):
    return {"k": 3} if metric == "neighborhood" else {}


def truth(reps, metric, n_features=None):
    x, labels = reps.values, reps.stimulus.values
    if metric == "consensus":
        return oracles.consensus(x)
    if metric == "neighborhood":
        return oracles.mean_of_pairs(oracles.pair_neighborhood(x, labels, 3, n_features))
    if metric == "rdm":
        return oracles.mean_of_pairs(oracles.pair_rdm(x, widths=n_features))
    return oracles.dispersion(x, metric)


def with_rows(reps, rows):
    """The set with rows replaced: {(model, stimulus): value}."""
    values = reps.values.copy()
    for (m, s), value in rows.items():
        values[m, s] = value
    return reps.copy(data=values)
