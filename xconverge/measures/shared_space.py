"""The shared space of many models: generalised Procrustes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from xconverge._apply import named_rows
from xconverge.kernels.procrustes import (
    Reduced,
    Solution,
    align,
    random_start,
    reduce,
    spectral_start,
)
from xconverge.schema import (
    Dims,
    SchemaError,
    check_representations,
    choose,
    describe,
    listing,
    natural_rank,
    widths,
)


def shared_space(
    reps: xr.DataArray,
    *,
    n_components: int | None = None,
    start: str = "spectral",
    n_restarts: int = 0,
    tolerance: float = 1e-8,
    max_iterations: int = 2000,
    rng: np.random.Generator | int | None = None,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.Dataset:
    """Rotate all models into one space, so that their coordinates can be compared.

    Every model is centred, reduced to its first principal components if ``n_components`` is
    given, zero-padded to the widest and divided by its Frobenius norm; then the sum of
    |X_m Q_m - Z|² is minimised over orthogonal Q_m, with Z the mean of the X_m Q_m.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width, at least two models.
    n_components : int, optional
        Principal components kept of each model; all features by default. An iteration costs
        one SVD a model of this size.
    start : str
        Where the consensus starts: ``"spectral"``, the leading directions that the models share,
        or the name of a model. The objective has many optima close to each other (on real sets
        within 1e-4), and the start decides which one is found.
    n_restarts : int
        Further starts from random rotations; the lowest objective wins.
    tolerance : float
        Stop when an iteration lowers the objective by less than this share of it.
    max_iterations : int
        A start that has not converged by then warns.
    rng : Generator, int or None
        For the random starts only.
    model, stimulus, feature : str
        Names of the dims.

    Returns
    -------
    Dataset
        ``aligned`` (model, stimulus, component), marked as a shared space and NaN for missing
        stimuli; ``consensus`` (stimulus, component), the mean of the models that saw the
        stimulus; ``residual`` (model, stimulus), the distance between the two; ``rotation``
        (model, feature, component), ``center`` (model, feature) and ``scale`` (model), with
        aligned = (x - center) @ rotation / scale where no stimulus is missing; ``objective``
        (iteration), never rising; ``unexplained``, the last objective over the models' sum of
        squares, in [0, (M-1)/M].

    Raises
    ------
    SchemaError
        Fewer than two models, extra dims, faulty rows, a model that saw nothing or the same
        vector throughout, each by name.

    Warns
    -----
    RuntimeWarning
        The best start stopped at ``max_iterations``; or all models have as many components as
        stimuli, where unrelated models can be rotated onto each other.

    Notes
    -----
    Computes a lazy input: the iteration needs all values in memory, model × stimulus × feature
    once in float64. ``unexplained`` is in-sample, and over-fits when components are not few
    against stimuli: four independent models come out at 0.62, 0.48, 0.20 and 0.06 for 1/16, 1/4,
    1 and 3 components a stimulus, where the truth is 0.75.

    With missing stimuli each model also gets a shift, so that it lies at the consensus of the
    stimuli it saw, and its sum of squares is the share of stimuli it saw. Stimuli are taken in
    the order of their labels, so that their order changes nothing.

    Gower (1975); for networks, Hosseini et al. (arXiv 2604.21836).

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((50, 4))
    >>> q, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    >>> reps = stack_models({"a": x, "b": 3 * x @ q + 1}, stimuli=[f"s{i}" for i in range(50)])
    >>> space = shared_space(reps)
    >>> float(space["residual"].max()) < 1e-10
    True
    """
    reps = check_representations(reps, model, stimulus, feature)
    _check_arguments(reps, n_components, start, n_restarts, (model, stimulus, feature))
    modality = reps.attrs.get("modality")
    reps = reps.transpose(model, stimulus, feature).compute()
    order = np.argsort(natural_rank(reps.indexes[stimulus]))
    back = np.argsort(order)
    models = _reduced(reps.isel({stimulus: order}), n_components, (model, stimulus, feature))
    x = np.stack([part.rows for part in models])
    seen = np.stack([part.seen for part in models])
    rng = np.random.default_rng(rng)
    first = spectral_start(x) if start == "spectral" else x[reps.indexes[model].get_loc(start)]
    starts = [first, *(random_start(x, rng) for _ in range(n_restarts))]
    solution = _best(x, seen, starts, tolerance, max_iterations)
    if x.shape[2] >= seen.sum(1).min():
        warnings.warn(
            f"{x.shape[2]} components for {seen.sum(1).min()} stimuli: rotations over-fit, and "
            "unrelated models look alike; reduce them with n_components",
            RuntimeWarning,
            stacklevel=2,
        )
    space = _labelled(reps, models, solution, seen, back, (model, stimulus, feature))
    for name in space.data_vars:
        parameters = {"n_components": n_components, "modality": modality}
        space[name] = describe(space[name], str(name), **parameters)
    for name in ("aligned", "consensus"):
        space[name].attrs["space"] = "shared"
    space.attrs = {
        "method": "generalised Procrustes", "start": start, "n_restarts": n_restarts,
        "tolerance": tolerance,
    }  # fmt: skip
    return space


def _check_arguments(
    reps: xr.DataArray, n_components: int | None, start: str, n_restarts: int, dims: Dims
) -> None:
    extra = [str(dim) for dim in reps.dims if dim not in dims]
    if extra:
        raise SchemaError(
            f"shared_space takes the dims {list(dims)} and got {extra} too; choose one with "
            f".sel(), or stack it onto {dims[0]!r}"
        )
    if reps.sizes[dims[0]] < 2:
        raise SchemaError(
            f"a shared space needs at least 2 models, got {listing(reps.indexes[dims[0]])}"
        )
    choose("start", start, ["spectral", *map(str, reps.indexes[dims[0]])])
    if n_components is not None and n_components < 1:
        raise ValueError(f"n_components={n_components} must be at least 1")
    if n_restarts < 0:
        raise ValueError(f"n_restarts={n_restarts} must not be negative")


def _reduced(reps: xr.DataArray, n_components: int | None, dims: Dims) -> list[Reduced]:
    model, stimulus, feature = dims
    real = np.broadcast_to(widths(reps, feature), reps.sizes[model])
    dim = int(real.max() if n_components is None else min(n_components, real.max()))
    return [
        named_rows(
            reduce,
            values,
            int(width),
            n_components,
            dim,
            name,
            reps.indexes[stimulus],
            what="model",
        )
        for values, width, name in zip(reps.values, real, reps.indexes[model], strict=True)
    ]


def _best(x: Any, seen: Any, starts: list[Any], tolerance: float, max_iterations: int) -> Solution:
    solutions = [align(x, seen, start, tolerance, max_iterations) for start in starts]
    best = min(solutions, key=lambda solution: float(solution.objective[-1]))
    if len(best.objective) >= max_iterations:
        warnings.warn(
            f"the shared space stopped after {max_iterations} iterations, before its objective "
            f"fell by less than {tolerance} of itself; raise max_iterations or tolerance",
            RuntimeWarning,
            stacklevel=3,
        )
    return best


def _labelled(
    reps: xr.DataArray,
    models: list[Reduced],
    solution: Solution,
    seen: Any,
    back: Any,
    dims: Dims,
) -> xr.Dataset:
    model, stimulus, feature = dims
    there = seen[:, back]
    aligned = np.where(there[:, :, None], solution.aligned[:, back], np.nan)
    consensus = np.where(there.any(0)[:, None], solution.consensus[back], np.nan)
    gap = aligned - consensus
    total = sum(float(np.vecdot(part.rows, part.rows).sum()) for part in models)
    component = "component"
    return xr.Dataset(
        {
            "aligned": ((model, stimulus, component), aligned),
            "consensus": ((stimulus, component), consensus),
            "residual": ((model, stimulus), np.sqrt(np.vecdot(gap, gap))),
            "rotation": (
                (model, feature, component),
                np.stack([p.basis @ q for p, q in zip(models, solution.rotation, strict=True)]),
            ),
            "center": ((model, feature), np.stack([part.center for part in models])),
            "scale": (model, [part.scale for part in models]),
            "objective": ("iteration", solution.objective),
            "unexplained": solution.objective[-1] / total,
        },
        coords=reps.drop_vars("n_features", errors="ignore").coords,
    )
