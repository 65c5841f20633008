"""A penalty on dispersion, beside the encoders' own losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xconverge.labels.messages import choose
from xconverge.torch.dispersion import METRIC_NAMES, dispersion


class DispersionRegularizer(torch.nn.Module):
    """Pulls several encoders together on each stimulus: weight × mean dispersion of a batch.

    Parameters
    ----------
    weight : float
        Factor of the penalty; a negative one drives encoders apart.
    metric : str
        As in ``dispersion``.
    **options
        Further arguments of ``dispersion``: ``normalize``, ``k``, ``temperature`` …

    Raises
    ------
    ValueError
        A metric that ``dispersion`` does not have; an option that it does not have is a TypeError
        at the first batch.

    Notes
    -----
    Add it to losses that keep the encoders informative. Alone, ``cosine``, ``correlation`` and
    ``sqeuclidean`` are 0 where all outputs are one vector.

    Examples
    --------
    >>> import torch
    >>> encoders = [torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)]
    >>> together = DispersionRegularizer(weight=0.5)
    >>> batch = torch.randn(16, 8)
    >>> loss = together([encoder(batch) for encoder in encoders])
    >>> loss.backward()
    """

    def __init__(self, weight: float = 1.0, metric: str = "cosine", **options: Any) -> None:
        super().__init__()
        choose("metric", metric, METRIC_NAMES)
        self.weight, self.metric, self.options = weight, metric, options

    def forward(
        self, outputs: Tensor | Sequence[Tensor], stimulus_weight: Tensor | None = None
    ) -> Tensor:
        """Weight × the mean over the stimuli of the batch.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensor
            As in ``dispersion``.
        stimulus_weight : Tensor, optional
            (stimulus), not negative and not all 0: the mean becomes Σ w_i D_i / Σ w_i.

        Returns
        -------
        Tensor
            ().

        Raises
        ------
        ValueError
            What ``dispersion`` raises; weights of another shape, or that have no mean.
        """
        values = dispersion(outputs, self.metric, **self.options)
        if stimulus_weight is None:
            return self.weight * values.mean()
        if stimulus_weight.shape != values.shape:
            raise ValueError(
                f"stimulus_weight must hold one number for each of the {len(values)} stimuli, got "
                f"shape {tuple(stimulus_weight.shape)}"
            )
        share = stimulus_weight.to(values)
        if not (share.min() >= 0 and 0 < share.sum() < torch.inf):
            raise ValueError("stimulus_weight must not be negative, nor NaN, nor 0 throughout")
        return self.weight * (share * values).sum() / share.sum()

    def extra_repr(self) -> str:
        """What is shown of it."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"weight={self.weight}, metric={self.metric!r}{options}"
