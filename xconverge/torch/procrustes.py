"""Outputs of encoders of any width in one space: generalised Procrustes on the batch."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from xconverge.kernels.procrustes import align, reduce, spectral_start
from xconverge.kernels.vectors import Array


def aligned(several: list[Tensor], tolerance: float, max_iterations: int) -> Tensor:
    """Coordinates (model, stimulus, component) in the shared space of the batch.

    Centred, of unit Frobenius norm and rotated; the rotations are constants to the gradient.
    """
    rows = [outputs - outputs.mean(0) for outputs in several]
    maps = _rotations([outputs.detach() for outputs in several], tolerance, max_iterations)
    return torch.stack(
        [
            one @ torch.as_tensor(turn, dtype=one.dtype, device=one.device) / _size(one)
            for one, turn in zip(rows, maps, strict=True)
        ]
    )


def _size(rows: Tensor) -> Tensor:
    """Frobenius norm of rows of any scale: the largest entry cancels, in the gradient too."""
    largest = rows.detach().abs().max()
    norm: Tensor = torch.linalg.vector_norm(rows / largest)
    return largest * norm


def _rotations(several: list[Tensor], tolerance: float, max_iterations: int) -> list[Array]:
    """Orthogonal map (width, component) of every encoder, fitted as ``shared_space`` does."""
    n = len(several[0])
    whole, dim = np.ones(n, bool), min(n, max(rows.shape[1] for rows in several))
    models = []
    for m, rows in enumerate(several):
        try:
            models.append(reduce(rows.cpu().numpy(), rows.shape[1], whole, None, dim))
        except ValueError as error:
            raise ValueError(f"encoder {m}: {error}") from None
    if dim >= n - 1:
        warnings.warn(
            f"{dim} components for a batch of {n} stimuli: rotations over-fit, and unrelated "
            "encoders look alike; use larger batches or narrower outputs",
            RuntimeWarning,
            stacklevel=4,
        )
    x = np.stack([model.rows for model in models])
    solution = align(x, np.ones(x.shape[:2], bool), spectral_start(x), tolerance, max_iterations)
    return [model.frame.basis @ turn for model, turn in zip(models, solution.rotation, strict=True)]
