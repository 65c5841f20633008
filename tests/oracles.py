"""The measures from their formulas, in plain loops; slow, and too simple to be wrong."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
from scipy.spatial import distance

DISTANCES = {
    "cosine": distance.cosine,
    "correlation": distance.correlation,
    "euclidean": distance.euclidean,
    "sqeuclidean": distance.sqeuclidean,
}


def rows_seen(x: Any, i: int, widths: Any = None) -> dict[int, Any]:
    """Vectors of stimulus ``i`` by model, without the models that never saw it."""
    real = [x.shape[2]] * len(x) if widths is None else widths
    rows = {m: np.asarray(x[m, i, : real[m]], np.float64) for m in range(len(x))}
    return {m: row for m, row in rows.items() if not np.isnan(row).all()}


def pair_dispersion(x: Any, metric: str) -> Any:
    """(model, model, stimulus), NaN where one of the two is missing."""
    models, n, _ = x.shape
    result = np.full((models, models, n), np.nan)
    for i in range(n):
        rows = rows_seen(x, i)
        for a in rows:
            for b in rows:
                result[a, b, i] = 0.0 if a == b else DISTANCES[metric](rows[a], rows[b])
    return result


def mean_of_pairs(pairs: Any) -> Any:
    """Mean over unordered pairs; NaN where there is none."""
    result = []
    for i in range(pairs.shape[2]):
        values = [pairs[a, b, i] for a, b in combinations(range(len(pairs)), 2)]
        values = [value for value in values if not np.isnan(value)]
        result.append(sum(values) / len(values) if values else np.nan)
    return np.array(result)


def dispersion(x: Any, metric: str) -> Any:
    """Mean over unordered pairs of models of scipy's distance."""
    return mean_of_pairs(pair_dispersion(x, metric))


def consensus(x: Any) -> Any:
    """sqrt of the summed squared distances to the mean over models."""
    result = []
    for i in range(x.shape[1]):
        rows = list(rows_seen(x, i).values())
        center = sum(rows) / len(rows) if rows else np.nan
        total = sum(((row - center) ** 2).sum() for row in rows)
        result.append(np.sqrt(total) if len(rows) > 1 else np.nan)
    return np.array(result)


def mean_square_norm(x: Any) -> Any:
    """Mean over models of the squared norm of each stimulus's vector."""
    result = []
    for i in range(x.shape[1]):
        rows = list(rows_seen(x, i).values())
        result.append(sum((row**2).sum() for row in rows) / len(rows) if rows else np.nan)
    return np.array(result)


def agreeing(x: Any, metric: str) -> Any:
    """Cosine or correlation dispersion without cancellation, in extended precision."""
    x = x.astype(np.longdouble)
    if metric == "correlation":
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).sum(-1, keepdims=True))
    pairs = [((x[a] - x[b]) ** 2).sum(-1) / 2 for a, b in combinations(range(len(x)), 2)]
    return np.asarray(sum(pairs) / len(pairs), np.float64)


def natural(label: str) -> list[Any]:
    """Sort key: ``s2`` before ``s10``."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", label)]


def neighbors(x: Any, labels: Any, k: int) -> list[list[int]]:
    """Positions of the k nearest by cosine for each row of one model; [] where missing."""
    there = [i for i in range(len(x)) if not np.isnan(x[i]).all()]
    result: list[list[int]] = []
    for i in range(len(x)):
        if i not in there:
            result.append([])
            continue
        keys = []
        for j in there:
            if j != i:
                a, b = x[i].astype(np.float64), x[j].astype(np.float64)
                cosine = (a @ b) / np.sqrt((a @ a) * (b @ b))
                keys.append((-round(cosine, 11), natural(str(labels[j])), j))
        result.append([j for *_, j in sorted(keys)[:k]])
    return result


def pair_neighborhood(x: Any, labels: Any, k: int, widths: Any = None) -> Any:
    """1 - share of common neighbours, (model, model, stimulus)."""
    models, n, full = x.shape
    real = [full] * models if widths is None else widths
    lists = [neighbors(x[m, :, : real[m]], labels, k) for m in range(models)]
    result = np.full((models, models, n), np.nan)
    for a in range(models):
        for b in range(models):
            for i in range(n):
                if lists[a][i] and lists[b][i]:
                    result[a, b, i] = 1 - len(set(lists[a][i]) & set(lists[b][i])) / k
    return result


def pair_rdm(x: Any, metric: str = "correlation", widths: Any = None) -> Any:
    """1 - Pearson correlation of row i of two RDMs, self and missing left out."""
    models, n, full = x.shape
    real = [full] * models if widths is None else widths
    rdms = np.full((models, n, n), np.nan)
    for m in range(models):
        rows = x[m, :, : real[m]].astype(np.float64)
        for i in range(n):
            for j in range(n):
                if not np.isnan(rows[[i, j]]).any():
                    rdms[m, i, j] = DISTANCES[metric](rows[i], rows[j])
    result = np.full((models, models, n), np.nan)
    for a in range(models):
        for b in range(models):
            for i in range(n):
                both = [
                    j
                    for j in range(n)
                    if j != i and not np.isnan(rdms[a, i, j]) and not np.isnan(rdms[b, i, j])
                ]
                if len(both) >= 3:
                    result[a, b, i] = 1 - np.corrcoef(rdms[a, i, both], rdms[b, i, both])[0, 1]
    return result
