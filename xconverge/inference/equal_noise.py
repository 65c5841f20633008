"""What a statistic of several models would be if noise were equal at every stimulus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from xconverge.kernels.equal_noise import FOLDS, chosen_rank, null, parts
from xconverge.kernels.permutations import as_extreme
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.joins import natural_rank
from xconverge.labels.variables import describe

READINGS = {"absolute": False, "relative": True}


def equal_noise(
    reps: xr.DataArray,
    statistic: Callable[[xr.DataArray], float],
    observed: float,
    n_draws: int,
    tail: str,
    seed: int,
) -> dict[str, xr.DataArray]:
    """What ``statistic`` of models is expected to be under equal noise, and how far off it is.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature); it is loaded.
    statistic : callable
        Of such a set.
    observed : float
        The statistic of ``reps``.
    n_draws : int
        Draws of each reading of "equal": as it is, and against the norm of the stimulus.
    tail : {"two-sided", "greater", "less"}
    seed : int

    Returns
    -------
    dict of DataArray
        ``expected_correlation``, ``equal_noise_p_value``, ``excess``, ``excess_lower`` and
        ``excess_upper``, all of the reading with the larger p; the rank of the space in attrs.
    """
    ordered = reps.transpose("model", "stimulus", "feature").compute()
    real = np.broadcast_to(widths(ordered), ordered.sizes["model"])
    models = [
        row[:, :width].astype(np.float64) for row, width in zip(ordered.values, real, strict=True)
    ]
    rank = natural_rank(ordered.indexes["stimulus"])
    fold = np.random.default_rng(seed).permutation(len(rank))[rank] % FOLDS
    space_rank, _, _ = chosen_rank(models, fold)
    taken = parts(models, space_rank)

    def of_rows(rows: Sequence[Array]) -> float:
        values = np.full(ordered.shape, np.nan)
        for into, row in zip(values, rows, strict=True):
            into[:, : row.shape[1]] = row
        return statistic(ordered.copy(data=values))

    found = {}
    for name, by_norm in READINGS.items():
        values = null(taken, space_rank, of_rows, n_draws, rank, seed, by_norm)
        middle = values.mean()
        # the null of a correlation is not centred on 0: two-sided means far from what is expected
        reached = as_extreme(values - middle, np.asarray(observed - middle), tail)
        found[name] = ((1 + reached.sum()) / (1 + n_draws), values)
    reading = max(found, key=lambda name: found[name][0])
    p_value, values = found[reading]
    ends = observed - np.quantile(values, [0.975, 0.025])
    told = {
        "expected_correlation": values.mean(),
        "equal_noise_p_value": p_value,
        "excess": observed - values.mean(),
        "excess_lower": ends[0],
        "excess_upper": ends[1],
    }
    return {
        name: describe(
            xr.DataArray(value), name, space_rank=int(space_rank), noise=reading,
            n_equal_noise=n_draws,
        )
        for name, value in told.items()
    }  # fmt: skip
