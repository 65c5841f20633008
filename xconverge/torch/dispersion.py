"""Dispersion of the outputs of several encoders, per stimulus of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xconverge.kernels.dispersion import mean_distance, of_consensus, square_gaps
from xconverge.kernels.neighbors import overlap_share
from xconverge.kernels.vectors import METRICS
from xconverge.labels.arguments import check_neighbors
from xconverge.labels.messages import choose
from xconverge.torch.neighbors import memberships
from xconverge.torch.procrustes import aligned
from xconverge.torch.vectors import directed, encoders, full_precision

METRIC_NAMES = ["cosine", "correlation", "sqeuclidean", "consensus", "neighborhood"]


def dispersion(
    x: Tensor | Sequence[Tensor],
    metric: str = "cosine",
    *,
    normalize: bool = False,
    k: int = 10,
    temperature: float = 0.05,
    tolerance: float = 1e-8,
    max_iterations: int = 2000,
) -> Tensor:
    """How differently several encoders represent each stimulus of a batch, differentiable.

    Parameters
    ----------
    x : Tensor or sequence of Tensor
        (model, stimulus, feature), or (stimulus, width) of every encoder, rows in the same order.
        ``consensus`` and ``neighborhood`` take any widths; the others compare feature by feature.
    metric : str
        ``cosine``, ``correlation``, ``sqeuclidean``: mean distance over pairs of encoders.
        ``consensus``: ``sqrt(Σ_m |a_m - z|² / (M - 1))``, z the mean over M encoders, after
        generalised Procrustes on the batch. ``neighborhood``: 1 - mean soft overlap of the k
        nearest neighbours in the batch.
    normalize : bool
        Divide by the mean squared norm of the stimulus's vectors (by its root for ``consensus``).
        Not for ``neighborhood``.
    k : int
        Neighbours, for ``neighborhood``.
    temperature : float
        Of the memberships, in units of the cosine, for ``neighborhood``.
    tolerance, max_iterations
        Of the rotations, for ``consensus``; as in ``xconverge.shared_space``.

    Returns
    -------
    Tensor
        (stimulus), on the device of ``x``, in its precision but at least single.

    Raises
    ------
    ValueError
        Fewer than two encoders; differing stimuli, devices, or widths under a metric that compares
        features; NaN or infinity, zero vectors under ``cosine`` and ``neighborhood``, constant ones
        under ``correlation``, by their places in the batch; too few stimuli.
    TypeError
        Something else than floating-point tensors.

    Warns
    -----
    RuntimeWarning
        ``consensus`` of batches that do not have more stimuli than components.

    Notes
    -----
    The same numbers as ``xconverge.dispersion`` of the same rows; of
    ``shared_space(reps)["aligned"]`` for ``consensus``; in the limit ``temperature`` → 0 for
    ``neighborhood``, where no two candidates tie for the k-th place. Missing rows are an error.

    ``neighborhood`` is 1 - mean over pairs of Σ_j p_aij p_bij / k, with p_ij =
    sigmoid((cos_ij - θ_i) / temperature) and θ_i such that Σ_j p_ij = k. It lies in [0, 1]; for
    unrelated encoders, and for collapsed ones, it is 1 - k/(n-1) at any temperature. Where all
    encoders agree it is 1 - mean Σ_j p_ij² / k, and 0 only in the limit.

    For ``consensus`` rotations are constants to the gradient. Of the sum of squares over stimuli,
    which they minimise, the gradient is exact; of single values it leaves out how rotations turn.
    They are computed on the CPU. Where encoders agree exactly the gradient is 0.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(3, 20, 8, requires_grad=True)
    >>> loss = dispersion(x).mean()
    >>> loss.backward()
    >>> x.grad.shape, dispersion([x[0], x[1, :, :5]], "neighborhood").shape
    (torch.Size([3, 20, 8]), torch.Size([20]))
    """
    choose("metric", metric, METRIC_NAMES)
    several = encoders(x)
    with full_precision(several[0]):
        if metric == "neighborhood":
            if normalize:
                raise ValueError(
                    "normalize=True divides by the norm of the vectors; it does not go with "
                    "metric='neighborhood'"
                )
            check_neighbors(k, len(several[0]))
            return _disagreement(several, k, temperature)
        if metric == "consensus":
            rows = aligned(several, tolerance, max_iterations)
        else:
            rows = _side_by_side(several, metric)
        # from the gaps: the sum of squares less that of the mean cancels in single precision
        ssd = square_gaps(rows, len(rows), 1, torch)
        if metric == "consensus":
            power = 0.5
            value: Tensor = of_consensus(ssd, len(rows), _root)
        else:
            power = 1.0
            value = mean_distance(ssd, len(rows), METRICS[metric])
        return value / _mean_square(rows) ** power if normalize else value


def _side_by_side(several: list[Tensor], metric: str) -> Tensor:
    widths = [rows.shape[1] for rows in several]
    if len(set(widths)) > 1:
        raise ValueError(
            f"metric={metric!r} compares feature by feature, and the encoders have {widths} "
            "features; use 'consensus' or 'neighborhood', or map them to one width"
        )
    return torch.stack(
        [directed(rows, METRICS[metric], f"encoder {m}") for m, rows in enumerate(several)]
    )


def _mean_square(rows: Tensor) -> Tensor:
    square: Tensor = torch.linalg.vecdot(rows, rows).mean(0)
    if (square == 0).any():
        raise ValueError(
            "normalize=True divides by the norm of the vectors, and a stimulus is at zero in all "
            "encoders"
        )
    return square


def _root(square: Tensor) -> Tensor:
    """Square root with gradient 0 at 0, where that of the root is infinite."""
    positive = square > 0
    # the inner one too: an infinite gradient times the 0 of a place that is not taken is NaN
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _disagreement(several: list[Tensor], k: int, temperature: float) -> Tensor:
    """1 - mean overlap over pairs of encoders.

    Σ_{a<b} p_a p_b = ½ ((Σ_m p_m)² - Σ_m p_m²). Of memberships 0 and 1 that is c (c - 1) / 2
    for a neighbour that c encoders have, which ``kernels.knn.mean_overlap`` counts.
    """
    p = torch.stack(
        [memberships(rows, k, temperature, f"encoder {m}") for m, rows in enumerate(several)]
    )
    total = p.sum(0)
    twice = torch.linalg.vecdot(total, total) - torch.linalg.vecdot(p, p).sum(0)
    result: Tensor = 1 - overlap_share(twice, k, len(p) * (len(p) - 1))
    return result
