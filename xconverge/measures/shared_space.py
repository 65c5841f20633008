"""The shared space of many models, and what their residuals in it have in common."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import by_rows
from xconverge.engine.folds import fold_numbers
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.resampling import Rng, seed_of
from xconverge.kernels.components import first_component
from xconverge.kernels.procrustes import placed, usual_tolerance
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed, real, whole
from xconverge.labels.checks import (
    ROUNDING,
    check_only,
    check_representations,
    check_table,
    model_groups,
    widths,
)
from xconverge.labels.coordinates import set_aside
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import describe, stated
from xconverge.measures.procrustes import Fit, Options, fits

COMPONENT = "component"
FIT = "_fit"
MAPS = ["rotation", "center", "scale", "shift"]
VARIABLES = (
    *MAPS, "aligned", "consensus", "residual", "objective", "unexplained", "unexplained_heldout",
)  # fmt: skip
DIMS = (COMPONENT, "iteration")


def shared_space(
    reps: xr.DataArray,
    *,
    n_components: int | None = None,
    folds: int | None = None,
    groups: str | None = None,
    by: str | None = None,
    start: str = "spectral",
    n_restarts: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 2000,
    rng: Rng = None,
) -> xr.Dataset:
    """Rotate all models into one space, so that their coordinates can be compared.

    Every model is centred, reduced to its first principal components if ``n_components`` is
    given, zero-padded to the widest and divided by its Frobenius norm; then the sum of
    ``|X_m Q_m - Z|²`` is minimised over orthogonal Q_m, with Z the mean of the X_m Q_m.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width, at least two models.
    n_components : int, optional
        Principal components kept of each model; by default all features, or as many as there are
        stimuli, which loses nothing. An iteration costs one SVD a model of this size; of 200
        components and more in single precision, and the last in double.
    folds : int, optional
        Cross-fit: every stimulus gets its coordinates from centres, components and rotations that
        were fitted without it and the others of its fold. The folds are rotated onto the space of
        all stimuli, and have its scales, one for each model, so that they compare. Costs that many
        fits more.
    groups : str, optional
        Stimulus coordinate whose equal values are held out together.
    by : str, optional
        Model coordinate (``family`` …): one space for each of its values.
    start : str
        Where the consensus starts: ``"spectral"``, the leading directions that the models share,
        or the name of a model. The objective has many optima close to each other (on real sets
        within 1e-4), and the start decides which one is found.
    n_restarts : int
        Further starts from random rotations; the lowest objective wins.
    tolerance : float, optional
        Stop when an iteration lowers the objective by less than this share of it. By default 1e-8,
        and 1e-5 for spaces of 200 components and more, whose iterations take long: they end about
        1e-4 above the optimum, which is as far as optima of other starts lie from each other.
    max_iterations : int
        A start that has not converged by then warns.
    rng : Generator, int or None
        For folds and random starts; ``attrs["seed"]`` says what was drawn from, if anything was.

    Returns
    -------
    Dataset
        ``aligned`` (model, stimulus, component), marked as a shared space and NaN for missing
        stimuli, cross-fitted with ``folds``; ``consensus`` (stimulus, component), the mean of the
        models that saw the stimulus; ``residual`` (model, stimulus), the distance between the
        two: the consensus holds the model itself, so that residuals are sqrt((M - 1) / M) of the
        noise where M models saw the stimulus (``dispersion`` puts that right). Of the fit to all
        stimuli: ``rotation`` (model, feature, component), ``center`` (model, feature), ``scale``
        (model) and ``shift`` (model, component), with aligned = (x - center) @ rotation / scale +
        shift (see ``transform``); ``objective`` (iteration), never rising; ``unexplained``, the
        last objective over the models' sum of squares. With ``folds`` also ``unexplained_heldout``,
        the same of the cross-fitted coordinates. For unrelated models it is (M-1)/M, in
        ``attrs["chance"]`` of both. With ``by``, consensus, objective (padded with NaN) and the
        unexplained parts have a dim for it, ``family_group`` for ``by="family"``.

    Raises
    ------
    SchemaError
        Fewer than two models (of a group), extra dims, faulty rows, a model that saw nothing or
        the same vector throughout, each by name.
    ValueError
        ``groups`` without ``folds``.
    MemoryError
        Neither the models nor their cross-products fit; it says how much is needed, and what to do.

    Warns
    -----
    RuntimeWarning
        A fit stopped at ``max_iterations``; or all models have as many components as
        stimuli, where unrelated models can be rotated onto each other.

    Notes
    -----
    The fit is computed at the call. A lazy set of up to 1 GiB in float64 is loaded; so is a larger
    one whose models have fewer than 2 × model × component stimuli, or miss some: it takes about
    4 × model × stimulus × component in float64. A longer set is read once for centres, scales and
    components, and once for the cross-products of its models (once more for each fold): the
    iteration runs on these, (model × component)² in float64, about five times, and never touches
    the data again. ``aligned``, ``consensus``, ``residual`` and ``unexplained_heldout`` are then
    lazy. Both ways give the same space, to rounding.

    ``unexplained`` is in-sample, and over-fits when components are not few against stimuli: four
    independent models come out at 0.62, 0.48, 0.20 and 0.06 for 1/16, 1/4, 1 and 3 features a
    stimulus, where the truth is 0.75; held out they come out at 0.75.

    Every model has the same weight in the fit, each layer of a network too (``dispersion`` counts
    networks): choose one layer of each for a space that no network of many layers pulls.

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
    reps = set_aside(check_representations(reps), (*VARIABLES, *DIMS))
    if n_components is not None:
        whole("n_components", n_components, 1)
    if folds is not None:
        whole("folds", folds, 2)
    elif groups is not None:
        raise ValueError(f"groups={groups!r} are held out together: they go with folds=…")
    whole("n_restarts", n_restarts, 0)
    whole("max_iterations", max_iterations, 1)
    if tolerance is None:
        dim = min(n_components or reps.sizes["stimulus"], int(widths(reps).max()))
        tolerance = usual_tolerance(dim)
    real("tolerance", tolerance, least=0)
    check_seed(rng)
    options = Options(n_components, start, n_restarts, tolerance, max_iterations)
    members = _members(reps, by)
    for group in members.values():
        _check_arguments(reps.isel({"model": group}), options)
    # a space of all stimuli from one start draws nothing
    seed = None if folds is None and not n_restarts else seed_of(rng)[0]
    stream = np.random.default_rng(seed)
    number = None if folds is None else fold_numbers(reps, folds, groups, stream)
    spaces = [
        _space(reps.isel({"model": group}), number, options, stream) for group in members.values()
    ]
    error = max(one["aligned"].attrs[ROUNDING] for one in spaces)
    space = spaces[0] if by is None else _joined(spaces, list(members), by, reps)
    told = {
        "n_components": n_components,
        "folds": folds,
        "groups": groups,
        "modality": reps.attrs.get("modality"),
        "seed": seed,
        **pairing_attrs(reps),
    }
    for name in space.data_vars:
        chance = space[name].attrs.get("chance")
        space[name] = describe(space[name], str(name), **told, chance=chance)
    space["aligned"].attrs[ROUNDING] = error
    for name in ("aligned", "consensus"):
        space[name].attrs["space"] = "shared" if by is None else f"shared within {by}"
    space.attrs = stated(
        method="generalised Procrustes",
        start=start,
        n_restarts=n_restarts,
        tolerance=tolerance,
        **told,
    )
    return space


def transform(reps: xr.DataArray, space: xr.Dataset) -> xr.DataArray:
    """Coordinates of other stimuli in a shared space that was fitted without them.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature): the models of the space, any of them in any order, with the
        features that the space was fitted to.
    space : Dataset
        What ``shared_space`` returned.

    Returns
    -------
    DataArray
        ``aligned`` (model, stimulus, component), marked as a shared space: (x - center) @
        rotation / scale + shift; NaN for missing stimuli. Lazy if ``reps`` is; a task holds one
        model.

    Raises
    ------
    SchemaError
        Models that the space does not have, another number of features, faulty rows by name.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import shared_space, stack_models
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((50, 4))
    >>> q, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    >>> reps = stack_models({"a": x, "b": x @ q}, stimuli=[f"s{i}" for i in range(50)])
    >>> space = shared_space(reps[:, :40])
    >>> placed = transform(reps[:, 40:], space)
    >>> bool(np.abs(placed[0] - placed[1]).max() < 0.1)
    True
    """
    reps = set_aside(check_representations(reps), DIMS)
    space = check_table(space, *MAPS, "aligned", what="space", made="shared_space(reps)")
    known, names = space.indexes["model"], reps.indexes["model"]
    if not names.isin(known).all():
        raise SchemaError(
            f"the space has no model {listing(names[~names.isin(known)])}; it was fitted to "
            f"{listing(known)}"
        )
    fitted = space.sel({"model": names})
    real = np.broadcast_to(widths(reps), len(names))
    expected = fitted["center"].notnull().sum("feature").values
    wrong = names[real != expected]
    if len(wrong):
        raise SchemaError(
            f"the space was fitted to {listing(expected[real != expected])} features of "
            f"{listing(wrong)}, reps has {listing(real[real != expected])}"
        )
    size = {"feature": slice(min(reps.sizes["feature"], space.sizes["feature"]))}
    everything = xr.DataArray(np.zeros(reps.sizes["stimulus"], np.int64), dims="stimulus")
    maps = fitted[MAPS]
    maps = maps.drop_vars(set(maps.coords) - {"model"}).isel(size).expand_dims(FIT)
    aligned = describe(
        _placed(reps.isel(size), everything, maps),
        "aligned",
        modality=reps.attrs.get("modality"),
        **pairing_attrs(reps),
    )
    known_of = space["aligned"].attrs
    return aligned.assign_attrs({n: known_of[n] for n in ("space", ROUNDING) if n in known_of})


def residual_component(residual: xr.DataArray) -> xr.DataArray:
    """First principal component of the models' residuals: what they find odd together.

    Parameters
    ----------
    residual : DataArray
        (model, stimulus), ``shared_space(...)["residual"]``.

    Returns
    -------
    DataArray
        ``residual_component`` (stimulus), a criterion for ``select_stimuli``: scores of the
        stimulus × model matrix with centred columns, in the unit of the residuals, high where the
        residuals are. NaN where a model did not see the stimulus. ``attrs["explained"]`` is the
        share of the variance that it holds.

    Warns
    -----
    RuntimeWarning
        Fewer than 3 stimuli that all models saw, or equal residuals: NaN.

    Raises
    ------
    SchemaError
        Other dims, fewer than two models, labels that are missing or not unique.

    Notes
    -----
    The sign of a component is arbitrary; here it correlates positively with the dispersion
    ``consensus``, the root of the summed squared residuals. Columns are not scaled: models that
    lie far from the consensus weigh more. Computes a lazy input.

    Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836) rank stimuli by it.

    Examples
    --------
    >>> from xconverge import shared_space
    >>> from xconverge.testing import planted_study
    >>> vision = planted_study(rng=0)["vision"]
    >>> odd = residual_component(shared_space(vision)["residual"])
    >>> odd.dims, bool(odd.attrs["explained"] > 0.5)
    (('stimulus',), True)
    """
    residual = check_only(residual, "model", "stimulus", what="residual")
    if residual.sizes["model"] < 2:
        raise SchemaError(
            f"residual must have at least 2 models, got {listing(residual.indexes['model'])}"
        )
    scores, explained = apply(
        first_component,
        residual.compute(),
        core=[["model", "stimulus"]],
        out=[["stimulus"], []],
        dtypes=[np.float64, np.float64],
    )
    return describe(
        scores, "residual_component", explained=float(explained), **pairing_attrs(residual)
    )


def _members(reps: xr.DataArray, by: str | None) -> dict[Any, Array]:
    """Positions of the models of every group, groups in order of appearance."""
    if by is None:
        return {None: np.arange(reps.sizes["model"])}
    return model_groups(reps, by)


def _check_arguments(reps: xr.DataArray, options: Options) -> None:
    extra = [str(dim) for dim in reps.dims if dim not in ("model", "stimulus", "feature")]
    if extra:
        raise SchemaError(
            f"shared_space takes the dims model, stimulus and feature and got {extra} too; choose "
            "one with .sel(), or stack it onto 'model'"
        )
    if reps.sizes["model"] < 2:
        raise SchemaError(
            f"a shared space needs at least 2 models, got {listing(reps.indexes['model'])}"
        )
    choose("start", options.start, ["spectral", *map(str, reps.indexes["model"])])


def _space(
    reps: xr.DataArray, fold: xr.DataArray | None, options: Options, rng: np.random.Generator
) -> xr.Dataset:
    """One space: fitted to all stimuli, and for each fold to the others."""
    reps, seen, (whole, *others) = fits(reps, fold, options, rng)
    _warn(whole, others, seen.sum(1).min(), options)
    count = seen.sum(0)
    chance = float((count - 1)[count > 0].sum() / count.sum())
    space = _maps(whole).assign_coords(reps.drop_vars("n_features", errors="ignore").coords)
    if fold is None:
        fold = xr.DataArray(np.zeros(len(count), np.int64), dims="stimulus")
    maps = xr.concat([_maps(fit) for fit in others or [whole]], FIT, join="exact")
    aligned = _placed(reps, fold, maps.assign_coords({"model": reps["model"]}))
    space["aligned"] = aligned
    # of models that agree throughout, rounding alone is left; a row has a norm of about 1 / √n
    error = max(fit.error for fit in (whole, *others))
    # a power of two: a bound should not have digits that follow the order of summation
    share = np.ceil(np.log2(error * np.sqrt(len(count))))
    space["aligned"].attrs[ROUNDING] = float(2.0**share)
    space["consensus"] = aligned.mean("model")
    square = ((aligned - space["consensus"]) ** 2).sum(COMPONENT, skipna=False)
    square = square.where(~(square <= (2 * error) ** 2), 0.0)
    space["residual"] = np.sqrt(square)
    space["objective"] = ("iteration", whole.objective)
    left = whole.objective[-1] * (whole.objective[-1] > seen.sum() * error**2)
    quality = {"unexplained": xr.DataArray(left / whole.total)}
    if others:
        several = xr.DataArray(count > 1, dims="stimulus")
        quality["unexplained_heldout"] = square.sum() / (aligned**2).where(several).sum()
    for name, value in quality.items():
        space[name] = value.assign_attrs(chance=chance)
    return space


def _warn(whole: Fit, others: list[Fit], n: int, options: Options) -> None:
    n_components = whole.shift.shape[1]
    if n_components >= n - 1:
        warnings.warn(
            f"{n_components} components for {n} stimuli: rotations over-fit, and "
            "unrelated models look alike; reduce them with n_components, and see "
            "unexplained_heldout (folds=…)",
            RuntimeWarning,
            stacklevel=4,
        )
    if any(len(fit.objective) >= options.max_iterations for fit in (whole, *others)):
        warnings.warn(
            f"the shared space stopped after {options.max_iterations} iterations, before its "
            f"objective fell by less than {options.tolerance} of itself; raise max_iterations or "
            "tolerance",
            RuntimeWarning,
            stacklevel=4,
        )


def _maps(fit: Fit) -> xr.Dataset:
    """Where a space puts a stimulus of each model."""
    return xr.Dataset(
        {
            "rotation": (("model", "feature", COMPONENT), fit.rotation),
            "center": (("model", "feature"), fit.center),
            "scale": ("model", fit.scale),
            "shift": (("model", COMPONENT), fit.shift),
        }
    )


def _placed(reps: xr.DataArray, fold: xr.DataArray, maps: xr.Dataset) -> xr.DataArray:
    """Coordinates (model, stimulus, component) by the ``maps`` (FIT) of every stimulus's fold."""
    inside = "feature_in"
    maps = maps.rename({"feature": inside})
    if reps.chunks is not None:
        maps = maps.chunk({"model": 1})

    def placing(part: slice) -> xr.DataArray:
        result: xr.DataArray = apply(
            placed,
            reps.isel({"stimulus": part}),
            widths(reps),
            fold.isel({"stimulus": part}),
            *(maps[name] for name in MAPS),
            core=[
                ["stimulus", "feature"], [], ["stimulus"], [FIT, inside, COMPONENT], [FIT, inside],
                [FIT], [FIT, COMPONENT],
            ],
            out=[["stimulus", COMPONENT]],
            labels=("model", "stimulus"),
        )  # fmt: skip
        return result.drop_vars("n_features", errors="ignore")

    return by_rows(reps, placing)


def _joined(spaces: list[xr.Dataset], values: list[Any], by: str, reps: xr.DataArray) -> xr.Dataset:
    """One Dataset of the spaces of all groups, models in the order of ``reps``."""
    longest = {dim: max(space.sizes[dim] for space in spaces) for dim in (COMPONENT, "iteration")}
    padded = [
        space.pad(
            {COMPONENT: (0, longest[COMPONENT] - space.sizes[COMPONENT])}, constant_values=0.0
        ).pad({"iteration": (0, longest["iteration"] - space.sizes["iteration"])})
        for space in spaces
    ]
    of_model = [str(name) for name, value in padded[0].items() if "model" in value.dims]
    of_group = [str(name) for name in padded[0] if name not in of_model]
    options: dict[str, Any] = {"coords": "minimal", "compat": "override", "join": "exact"}
    models = xr.concat([space[of_model] for space in padded], "model", **options)
    drop = [str(n) for n, c in reps.coords.items() if "model" in c.dims]
    groups = xr.concat(
        [space[of_group].drop_vars(drop, errors="ignore") for space in padded],
        pd.Index(values, name=f"{by}_group", dtype=object),
        combine_attrs="drop_conflicts",
        **options,
    )
    return models.sel({"model": reps.indexes["model"]}).merge(
        groups, compat="override", join="exact"
    )
