"""Dispersion and neighbours beside their peers, and beside a plain sum or product.

platonic-rep (Huh et al. 2024) is written out as it is coded, for the registry has no release of it:
dense similarities, every row sorted (mutual-kNN) or its k largest taken (CKNNA), dense masks and
their product. scipy takes a stimulus after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.spatial.distance import pdist

import xconverge as xc
from tests.benchmarks.bench_procrustes import LATENTS, noisy_models
from tests.benchmarks.table import Figure, Table, best_of

K = 10


def _noisy(models: int, stimuli: int, features: int) -> xr.DataArray:
    reps = noisy_models(models, stimuli, features, min(LATENTS, features // 2))
    return reps.assign_attrs(space="shared", modality="vision").rename("representation")


def dispersion(models: int, stimuli: int, features: int, repeats: int, folder: Path) -> Table:
    """In memory, in chunks of one model, and from a store, each over the sum of the same."""
    reps = _noisy(models, stimuli, features)
    x = reps.values
    xc.write_representations(folder / "peers.zarr", reps)
    places = {
        "in memory": reps,
        "in chunks of a model": reps.chunk(model=1, stimulus=-(-stimuli // 4)),
        "from a store": xc.open_representations(folder / "peers.zarr", "vision"),
    }
    ours = xc.dispersion(reps).values
    peer = np.array([pdist(x[:, i], "cosine").mean() for i in range(stimuli)])
    assert np.abs(ours / peer - 1).max() < 1e-6
    size = f"{models} x {stimuli:,} x {features}"
    table: Table = {}
    for place, given in places.items():
        seconds = best_of(
            {
                "sum": lambda given=given: given.sum(skipna=False).compute(),
                "ours": lambda given=given: xc.dispersion(given).compute(),
            },
            repeats,
        )
        most = 2.0 if "chunks" in place else 1.6
        table[f"cosine dispersion of {size} {place}: over its sum"] = Figure(
            seconds["ours"] / seconds["sum"], at_most=most
        )
        if place == "in memory":
            alone = best_of(
                {"pdist": lambda: [pdist(x[:, i], "cosine").mean() for i in range(stimuli)]}, 2
            )
            table[f"cosine dispersion of {size}: scipy's pdist over ours"] = Figure(
                alone["pdist"] / seconds["ours"], at_least=8
            )
    return table


def _cosines(x: np.ndarray) -> np.ndarray:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def _mask(nearest: np.ndarray) -> np.ndarray:
    mask = np.zeros((len(nearest), len(nearest)), np.float32)
    np.put_along_axis(mask, nearest, 1, axis=1)
    return mask


def platonic_mutual_knn(x: np.ndarray, y: np.ndarray) -> float:
    """Mean overlap, from sorted rows and masks (n, n)."""
    masks = []
    for rows in (x, y):
        cosines = _cosines(rows)
        np.fill_diagonal(cosines, -1e8)
        masks.append(_mask(np.argsort(-cosines, axis=1)[:, :K]))
    return float((masks[0] * masks[1]).sum(1).mean() / K)


def platonic_cknna(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased HSIC of masked cosines, normalised, on dense matrices."""

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        n = len(one)
        one, other = one - np.diag(np.diag(one)), other - np.diag(np.diag(other))
        whole = one.sum() * other.sum() / ((n - 1) * (n - 2))
        product = (one @ other).sum()
        return float(((one * other.T).sum() + whole - 2 * product / (n - 2)) / (n * (n - 3)))

    def similarity(one: np.ndarray, other: np.ndarray) -> float:
        masks = []
        for cosines in (one, other):
            others = cosines.copy()
            np.fill_diagonal(others, -np.inf)
            masks.append(_mask(np.argpartition(-others, K, axis=1)[:, :K]))
        both = masks[0] * masks[1]
        return hsic(both * one, both * other)

    k, m = _cosines(x), _cosines(y)
    return similarity(k, m) / float(np.sqrt(similarity(k, k) * similarity(m, m)))


def in_torch(metric: str, x: np.ndarray, y: np.ndarray) -> Callable[[], float] | None:
    """The same in PyTorch, as platonic-rep has it, where that is installed."""
    try:
        import torch
    except ImportError:
        return None
    sides = [torch.nn.functional.normalize(torch.from_numpy(rows), dim=1) for rows in (x, y)]

    def mask(nearest: Any) -> Any:
        return torch.zeros(len(nearest), len(nearest)).scatter_(1, nearest, 1.0)

    def mutual_knn() -> float:
        masks = []
        for rows in sides:
            cosines = (rows @ rows.T).fill_diagonal_(-1e8)
            masks.append(mask(cosines.argsort(dim=1, descending=True)[:, :K]))
        return float((masks[0] * masks[1]).sum(1).mean() / K)

    def hsic(one: Any, other: Any) -> Any:
        n = len(one)
        one, other = one.clone().fill_diagonal_(0), other.clone().fill_diagonal_(0)
        whole = one.sum() * other.sum() / ((n - 1) * (n - 2))
        product = torch.mm(one, other).sum()
        return ((one * other.T).sum() + whole - 2 * product / (n - 2)) / (n * (n - 3))

    def similarity(one: Any, other: Any) -> Any:
        left, right = (side.clone().fill_diagonal_(float("-inf")) for side in (one, other))
        both = mask(left.topk(K, dim=1)[1]) * mask(right.topk(K, dim=1)[1])
        return hsic(both * one, both * other)

    def cknna() -> float:
        k, m = (rows @ rows.T for rows in sides)
        return float(similarity(k, m) / torch.sqrt(similarity(k, k) * similarity(m, m)))

    return {"mutual_knn": mutual_knn, "cknna": cknna}[metric]


def neighbors(stimuli: int, features: int, repeats: int, metric: str, least: float) -> Table:
    """A measure of neighbours of two models, and two bare products of that size.

    Of a model with itself half of a product would do.
    """
    a, b = (_noisy(2, stimuli, features).isel(model=[m]) for m in range(2))
    x, y = a.values[0], b.values[0]
    peer = {"mutual_knn": platonic_mutual_knn, "cknna": platonic_cknna}[metric]
    assert abs(peer(x, y) - float(xc.alignment(a, b, metric, k=K).mean())) < 1e-4
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: xc.alignment(a, b, metric, k=K),
        "platonic-rep in numpy": lambda: peer(x, y),
        "products": lambda: (x @ y.T, y @ x.T),
    }
    if (call := in_torch(metric, x, y)) is not None:
        assert abs(call() - peer(x, y)) < 1e-4
        calls["platonic-rep"] = call
    seconds = best_of(calls, repeats)
    name = f"{metric} of {stimuli:,} x {features}:"
    over = seconds["ours"] / seconds["products"]
    peers = {
        f"{name} {one} over ours": Figure(seconds[one] / seconds["ours"], at_least=least)
        for one in calls
        if "platonic" in one
    }
    most = 1.4 if metric == "mutual_knn" else None
    return {**peers, f"{name} over the bare products": Figure(over, most)}


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    if short:
        return {
            **dispersion(4, 60, 16, 2, folder),
            **neighbors(60, 16, 2, "mutual_knn", 4),
            **neighbors(60, 16, 2, "cknna", 6),
        }
    return {
        **dispersion(20, 1_000, 768, 30, folder),
        **neighbors(5_000, 768, 7, "mutual_knn", 4),
        **neighbors(2_000, 768, 15, "cknna", 6),
    }
