"""Outputs of encoders as rows that can be computed with, or an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xconverge.kernels.vectors import Metric
from xconverge.labels.messages import listing


def encoders(x: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Rows (stimulus, width) of two encoders or more, in at least single precision."""
    if isinstance(x, Tensor) and x.ndim != 3:
        raise ValueError(
            f"one tensor for all encoders has the dims (model, stimulus, feature), got shape "
            f"{tuple(x.shape)}; encoders of differing widths come as a list"
        )
    several = list(x)
    if len(several) < 2:
        raise ValueError(f"dispersion needs the outputs of at least 2 encoders, got {len(several)}")
    return same_stimuli([checked(rows, f"encoder {m}") for m, rows in enumerate(several)])


def checked(rows: Tensor, what: str) -> Tensor:
    """Finite rows (stimulus, width) of one encoder, in at least single precision."""
    if not isinstance(rows, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, got {type(rows).__name__}")
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(
            f"{what} must be (stimulus, feature) with at least one of each, got shape "
            f"{tuple(rows.shape)}; flatten further dims first"
        )
    if not rows.is_floating_point():
        raise TypeError(f"{what} must hold real floating-point numbers, got {rows.dtype}")
    _refuse(~rows.isfinite().all(1), what, "NaN or infinity; leave these stimuli out for all")
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def same_stimuli(several: list[Tensor]) -> list[Tensor]:
    """Rows of several encoders, in one precision."""
    lengths = [len(rows) for rows in several]
    if len(set(lengths)) > 1:
        raise ValueError(f"the outputs must be of the same stimuli, in order; got {lengths} rows")
    devices = sorted({str(rows.device) for rows in several})
    if len(devices) > 1:
        raise ValueError(f"the outputs must be on one device, got {listing(devices)}")
    dtype = max((rows.dtype for rows in several), key=lambda dtype: dtype.itemsize)
    return [rows.to(dtype) for rows in several]


def directed(rows: Tensor, metric: Metric, what: str) -> Tensor:
    """Rows (stimulus, width) as the metric wants them: centred, of unit norm."""
    # sizes and largest entries are taken of detached rows: the direction does not depend on them
    if metric.centered:
        size = torch.linalg.vector_norm(rows.detach(), dim=1)
        rows = rows - rows.mean(1, keepdim=True)
        constant = (
            torch.linalg.vector_norm(rows.detach(), dim=1) <= 8 * torch.finfo(rows.dtype).eps * size
        )
        _refuse(constant, what, f"{metric.zero()}, for which this metric is undefined")
    if metric.unit:
        largest = rows.detach().abs().amax(1, keepdim=True)
        _refuse(largest[:, 0] == 0, what, f"{metric.zero()}, for which this metric is undefined")
        # first, so that no square leaves the range of numbers
        rows = rows / largest
        rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows


def _refuse(faulty: Tensor, what: str, reason: str) -> None:
    if faulty.any():
        where = listing(faulty.nonzero()[:, 0].tolist())
        raise ValueError(f"{what}, rows {where} of the batch: {reason}")


def full_precision(rows: Tensor) -> torch.autocast:
    """Inside, autocast does not lower the precision, as it does with every matrix product."""
    return torch.autocast(rows.device.type, enabled=False)
