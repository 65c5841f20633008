"""Maps over stimuli as Gaussian fields, and regressions of one map on another that allow for it.

A map is one value a stimulus: y = X b + u with u ~ N(0, V) and V = Σ_k s_k K_k + s_0 I, where the
kernels K_k say which stimuli are alike. Stimuli that lie close to each other, or in one category,
have alike values; a regression that takes them for independent finds maps related that are not.
The same model is used for kinship in genetics (Kang et al. 2008, Genetics 178).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import scipy

from xconverge.kernels import lapack
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.vectors import Array

T = TypeVar("T")
LENGTHS = (0.15, 0.4, 1.0)
"""Lengths of the kernels, in median distances: from next neighbours to all of the set."""
FITTED_ON = 1000
"""Stimuli that variances are fitted on; more would cost the cube and hardly narrow them."""
KEPT_UP_TO = 2000
"""Stimuli up to which all kernels are kept."""
KEPT_SUMS = 6
"""Covariances of so few stimuli that are kept: a map's given each of some covariates, and more."""
FEW, STEPS = 400, (4, 2, 1)
"""Many stimuli are fitted from where the fit of every fourth ended: steps there cost a sixtieth."""
LEAST_NUGGET = 1e-3
"""Of the variance of the map: what keeps V invertible where the fit would have no noise.

One stimulus that is there twice, with one value, would have a likelihood without bound at no noise,
and decide over all other stimuli.
"""
ENOUGH = 0.05
"""Gain of the log-likelihood below which a step ends the fit."""


class Likeness:
    """Which stimuli are alike: squared distances (n, n) of every geometry, codes (n) of categories.

    A distance matrix gives three Gaussian kernels, a category one that is 1 inside it. A distance
    that is NaN counts as far.
    """

    def __init__(self, squares: Sequence[Array], categories: Sequence[Array]) -> None:
        self.squares, self.categories = list(squares), list(categories)
        self.units = [_median_square(square) for square in squares]
        self._forget()

    def _forget(self) -> None:
        self._kept: dict[int, Array] = {}
        self._some: dict[bytes, list[Array]] = {}
        self._fits: dict[bytes, Array] = {}
        self._lists: dict[bytes, Array] = {}
        self._sums: dict[bytes, Array] = {}
        self._drawn: dict[tuple[int, int], Array] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Any, ...]:
        """Without what can be made again."""
        return self.squares, self.categories, self.units

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """What `__getstate__` gave."""
        self.squares, self.categories, self.units = state
        self._forget()

    def __len__(self) -> int:
        """How many kernels."""
        return len(LENGTHS) * len(self.squares) + len(self.categories)

    def kernel(self, number: int, where: Array) -> Array:
        """One kernel (m, m) among the stimuli at ``where`` (m), not to be written to.

        Those of few stimuli are made once, for both maps, all fits and all pairs.
        """
        if self._are_many:
            return self._made(number, where)
        n = len((self.squares or self.categories)[0])
        with self._lock:
            if number not in self._kept:
                self._kept[number] = self._made(number, np.arange(n))
        kept = self._kept[number]
        return kept if np.array_equal(where, np.arange(n)) else kept[np.ix_(where, where)]

    def kernels(self, where: Array) -> list[Array]:
        """All kernels (m, m) among the stimuli at ``where`` (m), not to be written to.

        Of few stimuli those of the last sets are kept: all maps are fitted to the same ones, and
        before to parts of them.
        """
        parts = self.squares or self.categories
        if self._are_many or not parts or len(where) == len(parts[0]):
            return self._among(where)
        return self._last(self._some, where.tobytes(), partial(self._among, where), len(STEPS))

    def _among(self, where: Array) -> list[Array]:
        return [self.kernel(number, where) for number in range(len(self))]

    @property
    def _are_many(self) -> bool:
        parts = self.squares or self.categories
        return bool(parts) and len(parts[0]) > KEPT_UP_TO

    def fitted(self, make: Callable[[], Array], *arrays: Array) -> Array:
        """Variances that ``make`` fits to these arrays, once for all tests."""
        digest = hashlib.blake2b()
        for array in arrays:
            digest.update(repr((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return self._last(self._fits, digest.digest(), make, 1000)

    def nearest(self, make: Callable[[Array, int], Array], where: Array, k: int) -> Array:
        """Lists of neighbours that ``make`` finds among stimuli, once for all maps."""
        key = where.tobytes() + bytes(str(k), "ascii")
        return self._last(self._lists, key, lambda: make(where, k), 4)

    def drawn(self, key: tuple[int, int], make: Callable[[], Array]) -> Array:
        """Random weights that all tests share; the first of them are kept."""
        found = self._drawn.get(key)
        if found is None:
            found = make()
            with self._lock:
                if (1 + len(self._drawn)) * found.nbytes <= BUDGETS.kept_draws:
                    self._drawn[key] = found
        return found

    def _last(self, kept: dict[bytes, T], key: bytes, make: Callable[[], T], most: int) -> T:
        """What is kept, or made and kept with the ``most`` that were made last.

        Threads that ask at the same time may both make it.
        """
        found = kept.get(key)
        if found is None:
            found = make()
            with self._lock:
                while len(kept) >= most:
                    del kept[next(iter(kept))]
                kept[key] = found
        return found

    def _made(self, number: int, where: Array) -> Array:
        side, length = divmod(number, len(LENGTHS))
        if side < len(self.squares):
            result = among(self.squares[side], where).astype(np.float64, copy=False)
            result *= -0.5 / (LENGTHS[length] ** 2 * self.units[side])
            np.exp(result, out=result)
            # unbiased squares may be below 0
            np.minimum(result, 1.0, out=result)
            # NaN is far away: the larger that is none
            return np.fmax(result, 0.0, out=result)
        codes = self.categories[number - len(LENGTHS) * len(self.squares)][where]
        return np.asarray(codes[:, None] == codes, np.float64)

    def covariance(self, variances: Array, where: Array) -> Array:
        """V (m, m) of variances (q + 1), that of the nugget last; not to be written to.

        Of few stimuli the last sums over all of them are kept: one map is tested against several,
        and at parts of the same stimuli.
        """
        some = [number for number, variance in enumerate(variances[:-1]) if variance]
        if not self._are_many:
            parts = self.squares or self.categories
            n = len(parts[0]) if parts else len(where)

            def summed(at: Array) -> Array:
                kernels = [self.kernel(number, at) for number in some]
                return _sum(variances[some], kernels, variances[-1], len(at))

            if n >= 2 * len(where):
                return summed(where)
            # one sum is cut faster than all of its kernels
            key = variances.tobytes() + bytes(str(n), "ascii")
            total = self._last(self._sums, key, partial(summed, np.arange(n)), KEPT_SUMS)
            return total if len(where) == n else among(total, where)
        # one kernel at a time: they are large
        total = np.zeros((len(where),) * 2)
        for number in some:
            _add(total, variances[[number]], [self.kernel(number, where)])
        total[np.diag_indices(len(total))] += variances[-1]
        return total


def _sum(variances: Array, kernels: Sequence[Array], nugget: float, n: int) -> Array:
    """Σ s K + s_0 I (n, n) of variances with their kernels, and of the nugget."""
    total = np.zeros((n, n))
    _add(total, variances, kernels)
    total[np.diag_indices(n)] += nugget
    return total


def _add(total: Array, variances: Array, kernels: Sequence[Array]) -> None:
    """Add Σ s K to a total (n, n), a block of rows at a time: it stays in cache meanwhile."""
    parts = _blocks(len(total))
    room = np.empty((parts[0].stop if parts else 0, len(total)))
    for rows in parts:
        into = total[rows]
        for variance, kernel in zip(variances, kernels, strict=True):
            into += np.multiply(kernel[rows], variance, out=room[: len(into)])


def _blocks(n: int) -> list[slice]:
    """Rows of a matrix (n, n) of doubles, a block at a time."""
    step = max(1, BUDGETS.gather_block // (8 * max(n, 1)))
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]


def among(square: Array, where: Array) -> Array:
    """A copy of the square (n, n) among the stimuli at ``where`` (m), fast where these are all."""
    if np.array_equal(where, np.arange(len(square))):
        return square.copy()
    return np.asarray(square[np.ix_(where, where)])


def _median_square(square: Array) -> float:
    """Squared median distance of two stimuli; 1 where all of them are at one place."""
    apart = np.concatenate([np.empty(0), *(row[i + 1 :] for i, row in enumerate(square))])
    some = np.isfinite(apart).any()
    median = float(np.nanmedian(np.sqrt(apart), overwrite_input=True)) if some else 1.0
    return median**2 if median > 0 else 1.0


def fit(y: Array, design: Array, likeness: Likeness, where: Array, seed: int = 0) -> Array:
    """Variances (q + 1) of a map by restricted maximum likelihood, that of the nugget last.

    Parameters
    ----------
    y : float array (m)
        The map at the stimuli ``where``.
    design : float array (m, c)
        Fixed effects, the constant among them.
    likeness : Likeness
        Of all n stimuli.
    where : int array (m)
        Which of them.
    seed : int
        Which FITTED_ON stimuli the variances are fitted on, where there are more. Kernels have
        lengths of their own, so that the model of some stimuli is that of all.
    """
    if len(y) > FITTED_ON:
        some = np.sort(np.random.default_rng(seed).permutation(len(y))[:FITTED_ON])
        y, design, where = y[some], design[some], where[some]
    scale = y.var()
    if scale == 0:
        return np.append(np.zeros(len(likeness)), 1.0)

    def fitted() -> Array:
        unit = y / np.sqrt(scale)
        variances: Array | None = None
        for step in STEPS if len(y) > FEW else STEPS[-1:]:
            kernels = likeness.kernels(where[::step])
            variances = restricted_maximum(unit[::step], design[::step], kernels, variances)
        return np.asarray(variances * scale)

    # several maps are tested against one, whose field is the same in all tests
    return likeness.fitted(fitted, y, design, where)


def restricted_maximum(
    y: Array, design: Array, kernels: Sequence[Array], start: Array | None = None
) -> Array:
    """Variances (q + 1), none below 0, at which the restricted likelihood is largest.

    Newton's steps with the average information (Gilmour, Thompson & Cullis 1995, Biometrics 51),
    which takes q products instead of q² traces. A step goes to the best variances of the quadratic
    model that are not negative, and is halved until it pays. A kernel that the fixed effects
    explain, of one category say, has no variance that could be told: 0.
    """
    fixed, _ = np.linalg.qr(design)
    told = np.array([*(not _explained(kernel, fixed) for kernel in kernels), True])
    if not told.all():
        variances: Array = np.zeros(len(told))
        some = [kernel for kernel, one in zip(kernels, told, strict=False) if one]
        before = None if start is None else start[told]
        variances[told] = restricted_maximum(y, design, some, before)
        return variances
    least = np.append(np.zeros(len(kernels)), LEAST_NUGGET * y.var())
    even: Array = np.full(len(kernels) + 1, y.var() / (len(kernels) + 1))
    # a kernel that a start leaves out may come back: its slope says so
    variances = even if start is None else np.maximum(start, least)
    now = _Point(y, design, kernels, variances)
    for _ in range(20):
        if now.likelihood > -np.inf:
            break
        # distances that no space holds: with enough of the nugget there is a covariance
        variances = np.append(variances[:-1], 2 * variances[-1])
        now = _Point(y, design, kernels, variances)
    for _ in range(100):
        target = _best_step(*now.slopes(), variances - least) + least
        for share in 0.5 ** np.arange(20):
            candidate: Array = variances + share * (target - variances)
            then = _Point(y, design, kernels, candidate)
            if then.likelihood > now.likelihood:
                break
        else:
            return variances
        gain = then.likelihood - now.likelihood
        now, variances = then, candidate
        if gain < ENOUGH:
            return variances
    return variances


def _explained(kernel: Array, fixed: Array) -> bool:
    """Whether nothing is left of a kernel (m, m) without orthonormal fixed effects (m, c)."""
    total = float(np.trace(kernel))
    return total - float((fixed * (kernel @ fixed)).sum()) <= 1e-10 * total


def _best_step(gradient: Array, information: Array, above: Array) -> Array:
    """The t >= 0 that has g'(t - a) - ½ (t - a)'A(t - a) largest: non-negative least squares."""
    # in units of each variance: a nugget near 0 has an information beside which a ridge of all
    # would hold every other variance where it is
    size = np.sqrt(np.diag(information))
    gradient, information, above = gradient / size, information / np.outer(size, size), above * size
    # kernels of neighbouring lengths are nearly one, and their information nearly singular
    root = np.linalg.cholesky(information + 1e-8 * np.eye(len(size))).T
    step, _ = scipy.optimize.nnls(root, root @ above + np.linalg.solve(root.T, gradient))
    return np.asarray(step / size)


class _Point:
    """The restricted likelihood at some variances."""

    def __init__(self, y: Array, design: Array, kernels: Sequence[Array], variances: Array) -> None:
        self.kernels = kernels
        some = [number for number, variance in enumerate(variances[:-1]) if variance]
        total = _sum(variances[some], [kernels[number] for number in some], variances[-1], len(y))
        # LAPACK reads columns; those of a symmetric matrix are its rows
        self.factor, self.likelihood = total.T, -np.inf
        if not lapack.cholesky(self.factor):
            return
        white = lapack.solve(self.factor, np.column_stack([y, design]))
        q, r = np.linalg.qr(white[:, 1:])
        rest = white[:, 0] - q @ (q.T @ white[:, 0])
        self.q, self.rest = q, rest
        self.likelihood = -(
            np.log(np.diag(self.factor)).sum()
            + np.log(np.abs(np.diag(r))).sum()
            + 0.5 * rest @ rest
        )

    def slopes(self) -> tuple[Array, Array]:
        """Gradient (q + 1) and average information (q + 1, q + 1), once: the factor is used up.

        With P = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹: -½ [tr(P K) - y'P K P y], and ½ y'P K P L P y.
        """
        back = lapack.solve(self.factor, np.column_stack([self.rest, self.q]), transposed=True)
        py, half = back[:, 0], back[:, 1:]
        # of a symmetric matrix LAPACK writes one triangle, and leaves zeros in the other
        inverse = self.factor
        lapack.invert(inverse)
        diagonal = np.diag(inverse)
        # by rows, as the kernels are: they are symmetric. A block of the inverse meets all kernels
        sums, turned = np.zeros(len(self.kernels)), np.empty((len(self.kernels), *back.shape))
        for rows in _blocks(len(py)):
            own = inverse.T[rows].reshape(-1)
            for number, kernel in enumerate(self.kernels):
                sums[number] += own @ kernel[rows].reshape(-1)
                turned[number, rows] = kernel[rows] @ back
        products = np.column_stack([*turned[:, :, 0], py])
        traces = [
            2 * total - diagonal @ np.diag(kernel) - np.vdot(half, of_half)
            for total, kernel, of_half in zip(sums, self.kernels, turned[:, :, 1:], strict=True)
        ]
        traces.append(diagonal.sum() - np.vdot(half, half))
        gradient = -0.5 * (np.array(traces) - products.T @ py)
        projected = scipy.linalg.blas.dsymm(1.0, inverse, products, lower=1) - half @ (
            half.T @ products
        )
        return gradient, 0.5 * products.T @ projected


def whiten(factor: Array, design: Array, *maps: Array) -> tuple[list[Array], int]:
    """Maps (m, K) made independent, less what the design (m, c) explains; degrees of freedom left.

    ``factor`` is the lower Cholesky factor of their covariance. One degree of freedom goes to the
    map that a map will be regressed on.
    """
    ends = np.cumsum([one.shape[1] for one in (design, *maps)])[:-1]
    # all at once: a factor is far larger than what it is read for
    solved = lapack.solve(factor, np.column_stack([design, *maps]))
    fixed, *white = np.split(solved, ends, axis=1)
    q, r = np.linalg.qr(fixed)
    size = np.abs(np.diag(r))
    q = q[:, size > 1e-10 * size.max(initial=0.0)]
    return [one - q @ (q.T @ one) for one in white], len(design) - q.shape[1] - 1


def regress(response: Array, predictor: Array, freedom: int) -> Array:
    """The t (K) of every whitened response (m, K) on its predictor (m, K)."""
    cross = (response * predictor).sum(0)
    own = (response**2).sum(0) * (predictor**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(cross * np.sqrt(freedom / np.maximum(own - cross**2, 0.0)))


def regress_together(response: Array, predictor: Array, freedom: int) -> Array:
    """The t of the sum of all products of a response (m, K) with its predictor (m, K).

    Whitened values of different stimuli are independent; those of one stimulus are not, as pairs
    share models. With residuals e_k the variance of Σ_k x_k'y_k is Σ_kl (x_k'x_l)(e_k'e_l) / df.
    Where all predictors are one, this is the regression of the mean response on it.
    """
    cross = (response * predictor).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = response - predictor * (cross / (predictor**2).sum(0))
        variance = ((predictor.T @ predictor) * (rest.T @ rest)).sum() / freedom
        return np.asarray(cross.sum() / np.sqrt(variance))


def lower_factor(covariance: Array) -> tuple[Array, float]:
    """Cholesky factor of a covariance, and what was added to its nugget.

    Of distances that no space holds: their kernels may have negative eigenvalues.
    """
    if not np.isfinite(covariance).all():
        # LAPACK may give a factor of NaN without a word
        raise ValueError("the covariance of a map is not finite")
    size, added = np.trace(covariance) / len(covariance), 0.0
    for nugget in (0.0, 1e-6, 1e-4, 1e-2, 1.0):
        added += nugget * size
        total = covariance.copy()
        total[np.diag_indices(len(total))] += added
        # LAPACK reads columns; those of a symmetric matrix are its rows
        factor = total.T
        if lapack.cholesky(factor):
            return factor, added
    raise ValueError("the distances of a geometry are those of no space: no covariance follows")


def effective_size(first: Array, second: Array) -> float:
    """Independent stimuli that two maps of these covariances (n, n) are worth, n at most.

    n' = 1 + tr(B V_x) tr(B V_y) / tr(B V_x B V_y), B the centring (Clifford, Richardson & Hémon
    1989; Dutilleul 1993, Biometrics 49, eq. 3.1).
    """
    n = len(first)
    own, together = np.zeros(2), 0.0
    means = [v.mean(0) for v in (first, second)]
    # rows by blocks: centred copies would be the most that a test of many stimuli holds
    step = max(1, BUDGETS.gather_block // (8 * n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        one, other = (
            v[rows] - mean - mean[rows, None] + mean.mean()
            for v, mean in zip((first, second), means, strict=True)
        )
        own += [np.trace(part, start) for part in (one, other)]
        together += np.vdot(one, other)
    if together <= 0:
        return float(n)
    return float(min(1 + own.prod() / together, n))


def moran(values: Array, neighbors: Array) -> Array:
    """Moran's I of maps (…, n) over lists (n, k) of neighbours: near -1/(n - 1) without structure.

    n / Σw · Σ w_ij z_i z_j / Σ z², w = 1 for the neighbours of a stimulus (Moran 1950). NaN of
    equal values.
    """
    gap = values - values.mean(-1, keepdims=True)
    square = np.vecdot(gap, gap)
    # neighbour by neighbour: all of them are k times the maps
    near = np.zeros(gap.shape)
    for column in neighbors.T:
        near += gap[..., column]
    size = neighbors.shape[1] * np.where(square > 0, square, np.nan)
    return np.asarray(np.vecdot(gap, near) / size)
