"""The measures from their formulas, in plain loops; slow, and too simple to be wrong."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
from scipy.spatial import distance
from scipy.stats import rankdata, spearmanr

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
    """sqrt of the summed squared distances to the mean over models, over their number less one."""
    result = []
    for i in range(x.shape[1]):
        rows = list(rows_seen(x, i).values())
        center = sum(rows) / len(rows) if rows else np.nan
        total = sum(((row - center) ** 2).sum() for row in rows)
        result.append(np.sqrt(total / (len(rows) - 1)) if len(rows) > 1 else np.nan)
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


def mean(values: Any) -> float:
    """Of what is there; NaN where nothing is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else np.nan


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


def pools(x: Any, y: Any) -> tuple[Any, Any]:
    """Two models (n, f) and (n, g), NaN throughout where either misses the stimulus."""
    x, y = (np.array(rows, np.float64) for rows in (x, y))
    gone = np.isnan(x).all(1) | np.isnan(y).all(1)
    x[gone], y[gone] = np.nan, np.nan
    return x, y


def lists_of_pair(x: Any, y: Any, labels: Any, k: int) -> tuple[list[Any], list[Any]]:
    """Neighbours of both among the stimuli that both saw; [] where one misses the stimulus.

    [] throughout where too few are common.
    """
    both = pools(x, y)
    if (~np.isnan(both[0]).all(1)).sum() <= k:
        return [[]] * len(x), [[]] * len(x)
    mine, theirs = (neighbors(rows, labels, k) for rows in both)
    return mine, theirs


def overlap(mine: Any, theirs: Any) -> float:
    """Share of common neighbours."""
    return len(set(mine) & set(theirs)) / len(mine)


def mutual_knn(x: Any, y: Any, labels: Any, k: int) -> Any:
    """Share (n) of common neighbours in the pool of the pair, NaN where one saw nothing."""
    lists = zip(*lists_of_pair(x, y, labels, k), strict=True)
    return np.array([overlap(*pair) if pair[0] else np.nan for pair in lists])


def list_measure(metric: str, x: Any, y: Any, labels: Any, k: int) -> float:
    """Any measure of neighbour lists as one number, in the pool of the pair; NaN if too small."""
    mine, theirs = lists_of_pair(x, y, labels, k)
    there = [i for i in range(len(mine)) if mine[i]]
    if not there:
        return np.nan
    values = {
        "mutual_knn": lambda i: overlap(mine[i], theirs[i]),
        "cycle_knn": lambda i: any(i in mine[j] for j in theirs[i]),
        "lcs_knn": lambda i: common_subsequence(mine[i], theirs[i]) / k,
        "edit_distance_knn": lambda i: 1 - levenshtein(mine[i], theirs[i]) / k,
    }[metric]
    return float(np.mean([values(i) for i in there]))


def cknna_of_pair(x: Any, y: Any, labels: Any, k: int, centered: bool) -> float:
    """CKNNA among the stimuli that both saw; NaN where they are too few."""
    there = [i for i in range(len(x)) if not (np.isnan(x[i]).all() or np.isnan(y[i]).all())]
    if len(there) <= max(3, k):
        return np.nan
    x, y, labels = x[there], y[there], [labels[i] for i in there]
    lists = (neighbors(rows, labels, k) for rows in (x, y))
    return cknna(x, y, *lists, centered)


def neighborhood_without(x: Any, labels: Any, k: int, groups: Any) -> Any:
    """Neighborhood dispersion (model, stimulus) of the models outside the group of each."""
    pairs = pair_neighborhood(x, labels, k)
    result = []
    for group in groups:
        others = [m for m, other in enumerate(groups) if other != group]
        result.append(mean_of_pairs(pairs[np.ix_(others, others)]))
    return np.array(result)


def null_of_pair(score: Any, x: Any, y: Any, orders: Any) -> list[float]:
    """Scores where the rows of the second model stand in another order; others stay in place."""
    return [score(x, y[list(order)]) for order in orders]


def kept_rows(x: Any, count: Any) -> Any:
    """The model (n, f) as if it had seen no stimulus but those that were drawn."""
    result = np.array(x, np.float64)
    result[np.asarray(count) == 0] = np.nan
    return result


def overlap_of_copies(x: Any, y: Any, labels: Any, count: Any, k: int) -> float:
    """Mean share of common neighbours where each stimulus is there ``count`` times.

    A copy is compared with the copies of all others and not with those of its own.
    """
    copies = [(i, number) for i, times in enumerate(count) for number in range(times)]
    lists = []
    for rows in (x, y):
        first = neighbors(kept_rows(rows, count), labels, len(labels))
        lists.append([[(j, c) for j in first[i] for c in range(count[j])][:k] for i, _ in copies])
    return float(np.mean([overlap(*pair) for pair in zip(*lists, strict=True)]))


def pair_neighborhood(x: Any, labels: Any, k: int, widths: Any = None) -> Any:
    """1 - share of common neighbours, each pair in its own pool, (model, model, stimulus)."""
    models, n, full = x.shape
    real = [full] * models if widths is None else widths
    rows = [x[m, :, : real[m]] for m in range(models)]
    result = np.full((models, models, n), np.nan)
    for a in range(models):
        for b in range(models):
            result[a, b] = 1 - mutual_knn(rows[a], rows[b], labels, k)
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


def hsic(k: Any, m: Any) -> float:
    """Unbiased HSIC of two kernels, Song et al. (2012), eq. 5, term by term."""
    n = len(k)
    k, m = k.copy(), m.copy()
    for i in range(n):
        k[i, i] = m[i, i] = 0.0
    trace = sum(k[i, j] * m[j, i] for i in range(n) for j in range(n))
    sum_k = sum(k[i, j] for i in range(n) for j in range(n))
    sum_m = sum(m[i, j] for i in range(n) for j in range(n))
    cross = sum(sum(k[i, j] for i in range(n)) * sum(m[j, i] for i in range(n)) for j in range(n))
    return (trace + sum_k * sum_m / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross) / (n * (n - 3))


def biased_hsic(k: Any, m: Any) -> float:
    """tr(KHLH) / (n-1)²."""
    n = len(k)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ m @ h)) / (n - 1) ** 2


def cka(k: Any, m: Any, criterion: Any = hsic) -> float:
    """HSIC of the two over the root of the product of their own."""
    return criterion(k, m) / np.sqrt(criterion(k, k) * criterion(m, m))


def distance_correlation(x: Any, y: Any, debiased: bool) -> float:
    """R* of U-centred distances (no root), or dCor of double-centred ones, entry by entry."""
    n = len(x)
    # U-centring divides sums by n - 2 and (n - 1)(n - 2), and leaves the diagonal out
    over, over_all = (n - 2, (n - 1) * (n - 2)) if debiased else (n, n * n)

    def centred(rows: Any) -> Any:
        d = [[float(np.sqrt(((p - q) ** 2).sum())) for q in rows] for p in rows]
        sums = [sum(d[i][j] for j in range(n)) for i in range(n)]
        return [
            [d[i][j] - sums[i] / over - sums[j] / over + sum(sums) / over_all for j in range(n)]
            for i in range(n)
        ]

    def product(a: Any, b: Any) -> float:
        return sum(a[i][j] * b[i][j] for i in range(n) for j in range(n) if i != j or not debiased)

    a, b = centred(x), centred(y)
    ratio = product(a, b) / float(np.sqrt(product(a, a) * product(b, b)))
    return ratio if debiased else float(np.sqrt(ratio))


def rbf(x: Any, sigma: float = 1.0) -> Any:
    """Gaussian kernel, its width a multiple of the median distance."""
    d = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])
    width = sigma * np.median(d[np.triu_indices(len(x), 1)])
    return np.exp(-(d**2) / (2 * width**2))


def cosines(x: Any) -> Any:
    """Cosine kernel."""
    u = x / np.sqrt((x**2).sum(1, keepdims=True))
    return u @ u.T


def cknna(x: Any, y: Any, lists_x: Any, lists_y: Any, centered: bool) -> float:
    """CKNNA with dense masks, as coded by its authors or as published."""
    n = len(x)
    k, m = cosines(x), cosines(y)
    mask_x, mask_y = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        mask_x[i, lists_x[i]] = 1
        mask_y[i, lists_y[i]] = 1
    if centered:
        k, m = k - k.mean(1, keepdims=True), m - m.mean(1, keepdims=True)

    def score(p: Any, q: Any, mask: Any) -> float:
        return float((mask * p * q).sum()) if centered else hsic(mask * p, mask * q)

    own = score(k, k, mask_x) * score(m, m, mask_y)
    return score(k, m, mask_x * mask_y) / np.sqrt(own)


def common_subsequence(a: Any, b: Any) -> int:
    """Length of the longest common subsequence, recursively."""
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return common_subsequence(a[:-1], b[:-1]) + 1
    return max(common_subsequence(a[:-1], b), common_subsequence(a, b[:-1]))


def levenshtein(a: Any, b: Any) -> int:
    """Edit distance, recursively."""
    if not a or not b:
        return len(a) + len(b)
    swap = levenshtein(a[:-1], b[:-1]) + (a[-1] != b[-1])
    return min(swap, levenshtein(a[:-1], b) + 1, levenshtein(a, b[:-1]) + 1)


def set_agreement(rdms: Any, members: Any) -> float:
    """Mean Pearson correlation, over pairs of models, of their triangles inside a set."""
    upper = np.triu_indices(len(members), 1)
    rows = [rdm[np.ix_(members, members)][upper] for rdm in rdms]
    return float(np.mean([np.corrcoef(u, v)[0, 1] for u, v in combinations(rows, 2)]))


# --- any measure of two models (n, f) and (n, g), over the stimuli that both saw


def common(x: Any, y: Any) -> list[int]:
    """Stimuli that both saw."""
    return [i for i in range(len(x)) if not (np.isnan(x[i]).all() or np.isnan(y[i]).all())]


def rdm_rows_of_pair(x: Any, y: Any, metric: str) -> Any:
    """Correlation (n) of row i of both RDMs; NaN for fewer than 3 others, or equal distances."""
    result, there = np.full(len(x), np.nan), common(x, y)
    for i in there:
        rows = [np.array([DISTANCES[metric](z[i], z[j]) for j in there if j != i]) for z in (x, y)]
        if len(there) > 3 and all(np.ptp(row) > 1e-9 * np.max(row) for row in rows):
            result[i] = np.corrcoef(*rows)[0, 1]
    return result


def rsa_of_pair(x: Any, y: Any, metric: str, method: str) -> float:
    """Similarity of both RDMs; of ranks, distances that differ by rounding tie."""
    there = common(x, y)
    if len(there) < 3:
        return np.nan
    u, v = (
        np.array([DISTANCES[metric](z[i], z[j]) for i, j in combinations(there, 2)]) for z in (x, y)
    )
    size = len(u)
    if method in ("kendall", "spearman", "rho-a"):
        u, v = np.round(u, 9), np.round(v, 9)
    if method == "kendall":
        signs = [
            np.sign(u[i] - u[j]) * np.sign(v[i] - v[j]) for i, j in combinations(range(size), 2)
        ]
        return float(np.mean(signs))
    if method in ("spearman", "rho-a"):
        u, v = rankdata(u), rankdata(v)
    if method == "rho-a":
        return float(12 * ((u - u.mean()) @ (v - v.mean())) / (size**3 - size))
    if method == "cosine":
        return float(u @ v / np.sqrt((u @ u) * (v @ v)))
    if any(np.ptp(one) <= 1e-9 * np.max(one) for one in (u, v)):
        return np.nan
    return float(np.corrcoef(u, v)[0, 1])


def similarity(u: Any, v: Any, method: str) -> float:
    """Similarity of two lists of distances, by SciPy where it has it."""
    if method == "spearman":
        return float(spearmanr(u, v).statistic)
    if method == "pearson":
        return float(np.corrcoef(u, v)[0, 1])
    if method == "cosine":
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    ranks = [rankdata(x) - (len(x) + 1) / 2 for x in (u, v)]
    return float(12 * (ranks[0] @ ranks[1]) / (len(u) ** 3 - len(u)))


def cka_of_pair(x: Any, y: Any, kernel: str, debiased: bool) -> float:
    """CKA; the width of an RBF kernel is that of all that its model saw."""
    there = common(x, y)
    if len(there) < 4:
        return np.nan
    kernels = []
    for z in (x, y):
        inside = z[there] - z[there].mean(0)
        if kernel == "rbf":
            seen = z[~np.isnan(z).all(1)]
            width = np.median([np.linalg.norm(p - q) for p, q in combinations(seen, 2)])
            square = ((inside[:, None] - inside) ** 2).sum(-1)
            kernels.append(np.exp(-square / (2 * width**2)))
        else:
            kernels.append(inside @ inside.T)
    criterion = hsic if debiased else biased_hsic
    if min(criterion(one, one) for one in kernels) <= 1e-12:
        return np.nan
    return cka(*kernels, criterion)


def distance_correlation_of_pair(x: Any, y: Any, debiased: bool) -> float:
    """Distance correlation; NaN for fewer than 4."""
    there = common(x, y)
    return distance_correlation(x[there], y[there], debiased) if len(there) > 3 else np.nan


def procrustes_of_pair(x: Any, y: Any) -> float:
    """Angle of the best rotation; NaN for fewer than 2, or where a model does not vary."""
    there = common(x, y)
    if len(there) < 2:
        return np.nan
    x, y = (z[there] - z[there].mean(0) for z in (x, y))
    size = np.linalg.norm(x) * np.linalg.norm(y)
    if size < 1e-9:
        return np.nan
    return float(np.arccos(min(1.0, np.linalg.svd(x.T @ y, compute_uv=False).sum() / size)))


def cosine_of_pair(x: Any, y: Any) -> Any:
    """Cosine (n) of the vectors of each stimulus."""
    result = np.full(len(x), np.nan)
    for i in common(x, y):
        result[i] = x[i] @ y[i] / (np.linalg.norm(x[i]) * np.linalg.norm(y[i]))
    return result


def density(x: Any, labels: Any, k: int) -> Any:
    """Mean cosine (n) to the k nearest; NaN where there are fewer."""
    result = np.full(len(x), np.nan)
    for i, near in enumerate(neighbors(x, labels, k)):
        if len(near) == k:
            norms = [np.linalg.norm(x[j]) * np.linalg.norm(x[i]) for j in near]
            result[i] = np.mean([x[i] @ x[j] / norm for j, norm in zip(near, norms, strict=True)])
    return result


def rdm_without(x: Any, groups: Any) -> Any:
    """RDM dispersion (model, stimulus) of the models outside the group of each."""
    pairs = pair_rdm(x)
    result = []
    for group in groups:
        others = [m for m, other in enumerate(groups) if other != group]
        result.append(mean_of_pairs(pairs[np.ix_(others, others)]))
    return np.array(result)


def products_of_trials(x, units, precision=None):
    """Mean product (n, n) over all pairs of trials (R, n, p) of different units (n, R)."""
    repetitions, n, p = x.shape
    precision = np.eye(p) if precision is None else precision
    result = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(n):
            found = []
            for r in range(repetitions):
                for s in range(repetitions):
                    there = not np.isnan(x[r, i]).any() and not np.isnan(x[s, j]).any()
                    if there and units[i, r] != units[j, s]:
                        found.append(x[r, i] @ precision @ x[s, j])
            if found:
                result[i, j] = np.mean(found)
    return result


def crossnobis(x, units, precision=None):
    """Unbiased squared Mahalanobis distance (n, n) of trials (R, n, p), over p."""
    g = products_of_trials(x, units, precision)
    result = np.full_like(g, np.nan)
    for i in range(len(g)):
        for j in range(len(g)):
            result[i, j] = (g[i, i] + g[j, j] - 2 * g[i, j]) / x.shape[2]
    return result


def noise_of_trials(x):
    """Residuals (N, p) of trials (R, n, p) around the means of stimuli, and degrees of freedom."""
    rows, freedom = [], 0
    for trials in x.swapaxes(0, 1):
        there = [trial for trial in trials if not np.isnan(trial).any()]
        rows += [trial - np.mean(there, axis=0) for trial in there]
        freedom += max(len(there) - 1, 0)
    return np.array(rows), freedom
