"""What a statistic of several models would be if noise were equal at every stimulus."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr

from xconverge.engine.apply import calmly
from xconverge.engine.progress import Interrupted, Report, side_by_side
from xconverge.kernels.blocks import on_cores
from xconverge.kernels.equal_noise import (
    FOLDS,
    Noise,
    Parts,
    Prepare,
    chosen_rank,
    components_of,
    errors_of,
    held_out,
    off_by,
    parts,
    rows_of,
)
from xconverge.kernels.permutations import as_extreme
from xconverge.kernels.procrustes import Reduced
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import widths
from xconverge.labels.joins import natural_rank
from xconverge.labels.variables import describe

Values = Callable[[Sequence[int]], Sequence[float]]
"""Of draws by their numbers."""
READINGS = {"absolute": False, "relative": True}
FIRST = 49
"""Draws of each reading, before the one that counts is drawn to the end."""
OUTER, INNER = 8, 4
"""Draws that are taken apart themselves, and draws of each, to see how far off a draw is."""
MANY, ONE_BY = 500, 16
"""Stimuli from which on one draw, with so many of its own, says it: draws differ little then."""
TOGETHER = 16
"""Quick draws that share what they read."""
NEAR = 19
"""Draws at half and at twice the rank, moved by what those at the rank itself are off by."""


def equal_noise(
    reps: xr.DataArray,
    statistic: Callable[[xr.DataArray], float],
    observed: float,
    n_draws: int,
    tail: str,
    seed: int,
    quick: Prepare | None = None,
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
        Draws of the reading of "equal" that counts: noise is equal as it is, or against the norm
        of the stimulus. The other one is drawn until it is seen not to.
    tail : {"two-sided", "greater", "less"}
    seed : int
    quick : callable, optional
        The same statistic of models taken apart, on arrays in the order of `by_label`; its draws
        are computed in parallel.

    Returns
    -------
    dict of DataArray
        ``expected_correlation``, ``equal_noise_p_value``, ``excess``, ``excess_lower`` and
        ``excess_upper``, all of the reading that draws reach more often, so that its p is larger;
        the rank of the space in attrs, and each reading's p and its number of draws.
        ``expected_by_rank`` and ``equal_noise_p_by_rank`` (space_rank) of that reading, at half,
        once and twice the rank; from fewer draws where it is not the rank itself.
    """
    ordered = by_label(reps.transpose("model", "stimulus", "feature")).compute()
    real = np.broadcast_to(widths(ordered), ordered.sizes["model"])
    models = [
        row[:, :width].astype(np.float64) for row, width in zip(ordered.values, real, strict=True)
    ]
    prepare = rows_of(partial(_of_rows, statistic, ordered)) if quick is None else quick
    n, apart = ordered.sizes["stimulus"], _TakenApart(models, seed)

    def noise(name: str, rank: int = apart.rank) -> Noise:
        return Noise(apart.at(rank), rank, prepare, np.arange(n), seed, READINGS[name])

    plan = _Plan.of(n, n_draws, len(apart.near), quick is not None)
    each = _Each(plan.total, parallel=quick is not None)
    noises = on_cores(noise, list(READINGS), _bytes_of(models))
    readings = {name: _Reading(one) for name, one in zip(READINGS, noises, strict=True)}
    name = _drawn(readings, each, plan, partial(_Reading.counts, observed=observed, tail=tail))
    by_rank = {apart.rank: readings[name].values()}
    try:
        for rank in apart.near if len(readings[name].drawn) == n_draws else []:
            values = each(noise(name, rank).values, plan.fewer, plan.at_once)
            by_rank[rank] = values + readings[name].off
    except Interrupted:
        warnings.warn(
            "interrupted: what spaces of other ranks say is left out", RuntimeWarning, stacklevel=4
        )
    told = _told(observed, by_rank[apart.rank], tail, name, apart.rank)
    told |= _by_rank(observed, by_rank, tail, plan.fewer)
    for name, one in readings.items():
        told["equal_noise_p_value"].attrs |= {
            f"p_{name}": _p_value(one.values(), observed, tail),
            f"n_{name}": len(one.drawn),
        }
    return told


def _of_rows(
    statistic: Callable[[xr.DataArray], float], like: xr.DataArray, rows: Sequence[Array]
) -> float:
    """The statistic of models (n, d) that are labelled as others are."""
    values = np.full(like.shape, np.nan)
    for into, row in zip(values, rows, strict=True):
        into[:, : row.shape[1]] = row
    return statistic(like.copy(data=values))


class _TakenApart:
    """Models taken apart in a space of the rank that held-out stimuli choose, and of others.

    ``near`` are twice and half that rank, where there are as many and as few.
    """

    def __init__(self, models: Sequence[Array], seed: int) -> None:
        self.rank, self.near, components = _ranks(models, seed)
        made = partial(calmly, parts, models, components=components)
        # spaces take long on one core each: larger ones are made aside, while draws are
        aside = ThreadPoolExecutor(1)
        self._later = {rank: aside.submit(made, rank=rank) for rank in self.near}
        aside.shutdown(wait=False)
        self._own: list[Parts] = made(rank=self.rank)

    def at(self, rank: int) -> list[Parts]:
        """In a space of one of these ranks."""
        return self._own if rank == self.rank else self._later[rank].result()


class _Plan(NamedTuple):
    """How many draws: of both readings first, then of one; draws of draws; and at other ranks."""

    first: int
    n_draws: int
    outer: int
    inner: int
    fewer: int
    at_once: int
    total: int

    @classmethod
    def of(cls, n: int, n_draws: int, n_near: int, quick: bool) -> _Plan:
        """For n stimuli; ``total`` is of all values that are computed one by one."""
        first, fewer = min(n_draws, FIRST), min(n_draws, NEAR)
        outer, inner = (OUTER, INNER) if n < MANY else (1, ONE_BY)
        at_once = max(TOGETHER if quick else 1, min(25, 200_000 // n**2))
        total = n_draws + first + len(READINGS) * outer + n_near * fewer
        return cls(first, n_draws, outer, inner, fewer, at_once, total)


class _Reading:
    """What "equal" may mean, with its draws so far, and draws of a few of them."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise
        self.drawn: Array = np.empty(0)
        self.of_its_draws: Array = np.empty(0)

    def draw(self, each: _Each, count: int, size: int) -> None:
        """Go on until there are ``count`` draws, ``size`` of them at a time."""
        more = partial(_behind, len(self.drawn), self.noise.values)
        try:
            found = each(more, count - len(self.drawn), size)
        except Interrupted as interrupt:
            self.drawn = np.append(self.drawn, interrupt.done)
            raise
        self.drawn = np.append(self.drawn, found)

    @property
    def off(self) -> float:
        """How far the statistic is off in draws."""
        return off_by(self.drawn, self.of_its_draws)

    def values(self) -> Array:
        """Of all draws, moved by what they are off by."""
        return self.drawn + self.off

    def counts(self, observed: float, tail: str) -> tuple[float, float]:
        """How often draws reach what is observed; of equals, how near they come."""
        values = self.values()
        far = abs(observed - values.mean()) / (values.std() or 1.0)
        return float(_reached(values, observed, tail).mean()), -float(far)


def _drawn(
    readings: dict[str, _Reading],
    each: _Each,
    plan: _Plan,
    counts: Callable[[_Reading], tuple[float, float]],
) -> str:
    """Draw both readings, and the one that counts to the end; its name.

    An interrupt of the latter keeps what is drawn; before it nothing can be told.
    """
    for one in readings.values():
        one.draw(each, plan.first, plan.at_once)
    several = list(readings.values())

    def of_its_draws(numbers: Sequence[int]) -> list[float]:
        """Of the readings in turn: few draws of each are taken apart, and that takes long."""
        each_of = [divmod(number, len(several)) for number in numbers]
        return [several[one].noise.of_its_draws(which, plan.inner) for which, one in each_of]

    nested = each(of_its_draws, len(several) * plan.outer)
    for i, one in enumerate(several):
        one.of_its_draws = nested[i :: len(several)]
    ended: set[str] = set()
    while (name := max(readings, key=lambda name: counts(readings[name]))) not in ended:
        try:
            readings[name].draw(each, plan.n_draws, plan.at_once)
        except Interrupted:
            warnings.warn(
                f"interrupted: equal noise rests on the {len(readings[name].drawn)} of "
                f"{plan.n_draws} draws that were done",
                RuntimeWarning,
                stacklevel=5,
            )
            break
        ended.add(name)
    return name


def _ranks(models: Sequence[Array], seed: int) -> tuple[int, list[int], list[Reduced]]:
    """The rank of the space, half and twice of it, and components (n, d) enough for all."""
    n = len(models[0])
    tests = held_out(np.random.default_rng(seed).permutation(n) % FOLDS)
    errors = on_cores(partial(errors_of, models), tests, _bytes_of(models))
    chosen, _, _ = chosen_rank(models, tests, errors)
    near = [2 * chosen] * (2 * chosen <= n // 2) + [chosen // 2] * (chosen > 1)
    return chosen, near, components_of(models, np.ones(n, bool), max([chosen, *near]))


def _bytes_of(models: Sequence[Array]) -> int:
    return sum(x.nbytes for x in models)


def by_label(array: xr.DataArray) -> xr.DataArray:
    """The array with its stimuli in the order of their labels: digits then follow no other."""
    return array.isel(stimulus=np.argsort(natural_rank(array.indexes["stimulus"])))


class _Each:
    """Values of so many numbers, some at a time, with progress over all of ``total``."""

    def __init__(self, total: int, parallel: bool) -> None:
        self.report, self.done, self.total = Report("equal noise"), 0, total
        # functions on labelled arrays set filters of warnings, which threads share
        self.threads = None if parallel else 1

    def __call__(self, function: Values, count: int, size: int = 1) -> Array:
        """``size`` values a task."""
        found = side_by_side(function, count, size, self._tell, self.threads)
        self.done += count
        return np.asarray(found)

    def _tell(self, done: int, total: int) -> None:
        self.report(min(self.done + done, self.total), self.total)


def _behind(first: int, values: Values, numbers: Sequence[int]) -> Sequence[float]:
    """Of draws that come after so many others."""
    return values([first + number for number in numbers])


def _reached(values: Array, observed: float, tail: str) -> Array:
    """The null of a correlation is not centred on 0: two-sided means far from what is expected."""
    middle = values.mean()
    return as_extreme(values - middle, np.asarray(observed - middle), tail)


def _p_value(values: Array, observed: float, tail: str) -> float:
    return float((1 + _reached(values, observed, tail).sum()) / (1 + len(values)))


def _told(
    observed: float, values: Array, tail: str, reading: str, space_rank: int
) -> dict[str, xr.DataArray]:
    """What draws of the reading that counts say."""
    ends = observed - np.quantile(values, [0.975, 0.025])
    told = {
        "expected_correlation": values.mean(),
        "equal_noise_p_value": _p_value(values, observed, tail),
        "excess": observed - values.mean(),
        "excess_lower": ends[0],
        "excess_upper": ends[1],
    }
    own = {"space_rank": int(space_rank), "noise": reading, "n_equal_noise": len(values)}
    return {name: describe(xr.DataArray(value), name, **own) for name, value in told.items()}


def _by_rank(
    observed: float, found: dict[int, Array], tail: str, fewer: int
) -> dict[str, xr.DataArray]:
    """Of each rank of the space, p and what is expected."""
    ranks = sorted(found)
    told = {
        "equal_noise_p_by_rank": [_p_value(found[rank], observed, tail) for rank in ranks],
        "expected_by_rank": [found[rank].mean() for rank in ranks],
    }
    return {
        name: describe(
            xr.DataArray(values, dims="space_rank", coords={"space_rank": ranks}), name,
            n_equal_noise=fewer,
        )
        for name, values in told.items()
    }  # fmt: skip
