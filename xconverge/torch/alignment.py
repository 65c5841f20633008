"""Alignment of two encoders on a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from xconverge.kernels.cka import cross, linear_sums
from xconverge.kernels.hsic import hsic, ratio, sums_of
from xconverge.kernels.neighbors import overlap_share
from xconverge.labels.arguments import check_neighbors
from xconverge.labels.messages import choose
from xconverge.torch.neighbors import memberships
from xconverge.torch.vectors import checked, full_precision, same_stimuli


def alignment(
    a: Tensor,
    b: Tensor,
    metric: str = "mutual_knn",
    *,
    k: int = 10,
    temperature: float = 0.05,
    debiased: bool = True,
) -> Tensor:
    """How well two encoders agree on the stimuli of a batch, differentiable.

    Parameters
    ----------
    a, b : Tensor
        (stimulus, feature) of any widths, rows of the same stimuli in the same order.
    metric : str
        ``mutual_knn``: soft overlap of the k nearest neighbours, per stimulus. ``cka``: linear
        centred kernel alignment, one number.
    k : int
        Neighbours, for ``mutual_knn``.
    temperature : float
        Of the memberships, in units of the cosine, for ``mutual_knn``.
    debiased : bool
        The unbiased estimate of ``cka``, whose chance level is 0 whatever the batch.

    Returns
    -------
    Tensor
        ``mutual_knn`` (stimulus), in [0, 1], k/(n-1) by chance at any temperature; ``cka`` (),
        about -1/n to 1. On the device of ``a``, in its precision but at least single. A loss is
        1 - alignment.

    Raises
    ------
    ValueError
        Differing numbers of stimuli, or devices; NaN or infinity, and zero vectors under
        ``mutual_knn``, by their places in the batch; too few stimuli; ``cka`` of outputs without
        structure, where ``xconverge.alignment`` is NaN.
    TypeError
        Something else than floating-point tensors.

    Notes
    -----
    The same numbers as ``xconverge.alignment`` of the same rows; in the limit ``temperature`` → 0
    for ``mutual_knn``, where no two candidates tie for the k-th place. The formulas are those of
    ``xconverge.torch.dispersion``.

    Examples
    --------
    >>> import torch
    >>> a, b = torch.randn(20, 8, requires_grad=True), torch.randn(20, 5)
    >>> loss = 1 - alignment(a, b, "cka")
    >>> loss.backward()
    >>> alignment(a, b).shape, a.grad.shape
    (torch.Size([20]), torch.Size([20, 8]))
    """
    choose("metric", metric, ["mutual_knn", "cka"])
    a, b = same_stimuli([checked(a, "a"), checked(b, "b")])
    with full_precision(a):
        if metric == "cka":
            return _cka(a, b, debiased)
        check_neighbors(k, len(a))
        own, other = (
            memberships(rows, k, temperature, what) for rows, what in ((a, "a"), (b, "b"))
        )
        result: Tensor = overlap_share(torch.linalg.vecdot(own, other), k)
        return result


def _cka(a: Tensor, b: Tensor, debiased: bool) -> Tensor:
    n = len(a)
    if n < 4:
        raise ValueError(
            f"cka needs at least 4 stimuli in a batch, got {n}; drop a short last batch "
            "(DataLoader(drop_last=True))"
        )
    between, *own = _criteria(_of_unit_scale(a), _of_unit_scale(b), debiased)
    if not all(value > 0 for value in own):
        raise ValueError(
            "cka is undefined: an encoder has no structure beyond chance in this batch (its own "
            "HSIC is not positive). It collapsed, or the batch is too small"
        )
    result: Tensor = ratio(between, *own)
    return result


def _criteria(a: Tensor, b: Tensor, debiased: bool) -> list[Tensor]:
    """HSIC of both encoders, then of each with itself.

    From products of features, or from kernels where these take fewer multiplications: n (d e + d² +
    e²) of X'Y, X'X and Y'Y against n² (d + e) of XX' and YY'. ``kernels.cka`` rotates wide rows
    into n features instead, by a QR that has no gradient here: centred rows lack a rank.
    """
    (n, d), e = a.shape, b.shape[1]
    if d * e + d * d + e * e < n * (d + e):
        sums = [linear_sums(cross(x, y), debiased) for x, y in ((a, b), (a, a), (b, b))]
    else:
        k, m = (_kernel(rows, debiased) for rows in (a, b))
        sums = [sums_of(k, m), sums_of(k, k), sums_of(m, m)]
    return [hsic(of, debiased) for of in sums]


def _kernel(rows: Tensor, debiased: bool) -> Tensor:
    """XX' (n, n), without the diagonal if the estimate has none."""
    kernel: Tensor = rows @ rows.T
    return kernel - kernel.diagonal().diag() if debiased else kernel


def _of_unit_scale(rows: Tensor) -> Tensor:
    """Centred and of unit norm, so that powers stay in range; zero where all rows are equal.

    CKA does not depend on the scale, which may be a constant to the gradient.
    """
    rows = rows / rows.detach().abs().max().clamp(min=torch.finfo(rows.dtype).tiny)
    rows = rows - rows.mean(0)
    norm: Tensor = torch.linalg.vector_norm(rows.detach())
    return rows / norm.clamp(min=torch.finfo(rows.dtype).tiny)
