"""Pre-processing of representation sets: labels stay, lazy stays lazy, the input stays as it is.

And what it takes away: the norm of every stimulus, on which raw dispersion depends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import Reduction, by_rows, is_long, reduce_rows
from xconverge.engine.pair import pairing_attrs
from xconverge.kernels import preprocess as kernels
from xconverge.kernels.rounding import relative, unit_of
from xconverge.kernels.vectors import row_norms, working_dtype
from xconverge.labels.checks import ROUNDING, check_representations, widths
from xconverge.labels.variables import describe

OUT, FITTED, FITTED_FEATURE = "_out", "_fitted", "_fitted_feature"


def _stepped(step: kernels.Step, reps: xr.DataArray, n_fitted: int, size: int) -> xr.DataArray:
    """Fit a step to every model and take it: rows (stimulus, feature) become (stimulus, ``OUT``).

    ``n_fitted`` rows are fitted, ``size`` is that of ``OUT``. Long models are read block by block,
    once to fit and once to place.
    """
    real, dtype = widths(reps), working_dtype(reps.dtype)
    if not is_long(reps):
        result: xr.DataArray = apply(
            kernels.in_one,
            reps,
            real,
            core=[["stimulus", "feature"], []],
            out=[["stimulus", OUT]],
            sizes={OUT: size},
            dtypes=[dtype],
            labels=("model", "stimulus"),
            step=step,
            dtype=dtype,
        )
        return result
    (fitted,) = reduce_rows(
        reps,
        Reduction(step.part, step.merge, step.finish),
        out=[[FITTED, FITTED_FEATURE]],
        sizes={FITTED: n_fitted, FITTED_FEATURE: reps.sizes["feature"]},
        dtypes=[np.float64],
    )

    def place(part: slice) -> xr.DataArray:
        placed: xr.DataArray = apply(
            step.place,
            reps.isel({"stimulus": part}),
            real,
            fitted,
            core=[["stimulus", "feature"], [], [FITTED, FITTED_FEATURE]],
            out=[["stimulus", OUT]],
            sizes={OUT: size},
            dtypes=[dtype],
            labels=("model", "stimulus"),
            dtype=dtype,
        )
        return placed

    return by_rows(reps, place)


def _noted(result: xr.DataArray, reps: xr.DataArray, text: str) -> xr.DataArray:
    """A result with the coordinates of ``reps``, their attrs too, and the note of this step."""
    before = reps.attrs.get("preprocessing")
    attrs = {**reps.attrs, "preprocessing": f"{before}; {text}" if before else text}
    if unit_of(reps.dtype) > unit_of(result.dtype):
        # they are not more exact for being held in another type
        attrs[ROUNDING] = relative(reps.dtype, reps.sizes["feature"])
    return xr.DataArray(
        result.transpose(*reps.dims).data,
        coords=reps.coords,
        dims=reps.dims,
        name="representation",
        attrs=attrs,
    )


def center(reps: xr.DataArray) -> xr.DataArray:
    """Subtract from every feature its mean over the stimuli that the model saw.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.

    Returns
    -------
    DataArray
        Like ``reps``, with all its coordinates; float32 for features of up to 4 bytes, else
        float64; ``attrs["preprocessing"]`` notes what was done. Lazy if ``reps`` is; long models
        are read block by block.

    Raises
    ------
    SchemaError
        Dims or labels that are missing; faulty rows by name, when computed.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> center(stack_models({"a": np.eye(2)}, stimuli=["cat", "dog"])).values.tolist()
    [[[0.5, -0.5], [-0.5, 0.5]]]
    """
    checked = check_representations(reps)
    size = checked.sizes["feature"]
    result = _stepped(kernels.centering(size), checked, 1, size)
    return _noted(result.rename({OUT: "feature"}), checked, "center")


def zscore(reps: xr.DataArray) -> xr.DataArray:
    """Give every feature mean 0 and standard deviation 1 over the stimuli that the model saw.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.

    Returns
    -------
    DataArray
        Like ``reps``, as ``center`` returns it; a feature that does not vary is 0.

    Raises
    ------
    SchemaError
        Dims or labels that are missing; faulty rows by name, when computed.

    Notes
    -----
    Divides by the deviation of the population (ddof 0), as scipy and scikit-learn do.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> zscore(stack_models({"a": 5 * np.eye(2)}, stimuli=["cat", "dog"])).values.tolist()
    [[[1.0, -1.0], [-1.0, 1.0]]]
    """
    checked = check_representations(reps)
    size = checked.sizes["feature"]
    result = _stepped(kernels.standardizing(size), checked, 2, size)
    return _noted(result.rename({OUT: "feature"}), checked, "zscore")


def unit_rows(reps: xr.DataArray) -> xr.DataArray:
    """Divide every row by its Euclidean norm.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.

    Returns
    -------
    DataArray
        Like ``reps``, as ``center`` returns it.

    Raises
    ------
    SchemaError
        Dims or labels that are missing; zero vectors and faulty rows by name, when computed.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> unit_rows(stack_models({"a": 5 * np.eye(2)}, stimuli=["cat", "dog"])).values.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    checked = check_representations(reps)
    dtype = working_dtype(checked.dtype)

    def unit(part: slice) -> xr.DataArray:
        rows: xr.DataArray = apply(
            kernels.unit_rows,
            checked.isel({"stimulus": part}),
            widths(checked),
            core=[["stimulus", "feature"], []],
            out=[["stimulus", "feature"]],
            dtypes=[dtype],
            labels=("model", "stimulus"),
            dtype=dtype,
        )
        return rows

    return _noted(by_rows(checked, unit), checked, "unit_rows")


def clamp(reps: xr.DataArray, quantile: float = 0.95, *, exact: bool = False) -> xr.DataArray:
    """Clip the outliers of every model at a quantile of its absolute values.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width; a dim ``layer`` shares one limit.
    quantile : float
        In (0, 1]; 1 changes nothing.
    exact : bool
        One quantile of all values, instead of the mean over stimuli of the quantile within each.

    Returns
    -------
    DataArray
        Like ``reps``, as ``center`` returns it, clipped to [-limit, limit]. With
        ``exact``, a task holds all layers of a model.

    Raises
    ------
    SchemaError, ValueError
        A quantile out of range; dims or labels that are missing; faulty rows by name, when
        computed.

    Notes
    -----
    ``remove_outliers`` of the platonic-representation code (Huh et al. 2024): the limit is the
    mean over stimuli of the quantile over all layers and features, or with ``exact`` (there
    ``--precise``) entry number int(quantile × count) of all sorted values. Where a layer
    misses a stimulus, its quantile is over the layers that saw it.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.array([[0.0, 1, 2], [0, 1, -20]])}, stimuli=["cat", "dog"])
    >>> clamp(reps, 0.5).values.tolist()
    [[[0.0, 1.0, 1.0], [0.0, 1.0, -1.0]]]
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile={quantile} must be above 0 and at most 1")
    checked = check_representations(reps)
    real = widths(checked)
    core = [dim for dim in ("layer", "stimulus", "feature") if dim in checked.dims]
    inputs = [core, [dim for dim in core if dim in real.dims]]
    labels: Any = ("model", "stimulus")

    def quantiles(part: slice) -> xr.DataArray:
        found: xr.DataArray = apply(
            kernels.sizes,
            checked.isel({"stimulus": part}),
            real,
            core=inputs,
            out=[["stimulus"]],
            labels=labels,
            quantile=quantile,
        )
        return found

    if quantile == 1:
        limit = xr.DataArray(np.inf)
    elif exact:
        limit = apply(
            kernels.exact_limit, checked, real, core=inputs, labels=labels, quantile=quantile
        )
    else:
        limit = by_rows(checked, quantiles).mean("stimulus")

    def clipped(part: slice) -> xr.DataArray:
        rows: xr.DataArray = apply(
            kernels.clipped,
            checked.isel({"stimulus": part}),
            real,
            limit,
            core=[*inputs, []],
            out=[core],
            dtypes=[dtype],
            labels=labels,
            dtype=dtype,
        )
        return rows

    dtype = working_dtype(checked.dtype)
    result = by_rows(checked, clipped)
    return _noted(result, checked, f"clamp(quantile={quantile}{', exact' if exact else ''})")


def pca(reps: xr.DataArray, n_components: int) -> xr.DataArray:
    """Scores of every model on its own first principal components.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.
    n_components : int
        Components to keep, at least 1.

    Returns
    -------
    DataArray
        Like ``reps``, as ``center`` returns it, with ``n_components`` features at most, largest
        variance first; models that have fewer features, and stimuli less one, are padded, and
        ``n_features`` says so. 0 beyond the rank. The axes of models are unrelated: it is not a
        shared space, and the ``component`` of one becomes ``feature``.

    Raises
    ------
    SchemaError, ValueError
        No component; dims or labels that are missing; faulty rows by name, when computed.

    Notes
    -----
    From the smaller of the two covariance matrices, float64. The sign of a component is such that
    the entry of its axis with the largest magnitude is positive.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.array([[1.0, 0], [3, 0]])}, stimuli=["cat", "dog"])
    >>> pca(reps, 1).values.tolist()
    [[[-1.0], [1.0]]]
    """
    if n_components < 1:
        raise ValueError(f"n_components={n_components} must be at least 1")
    checked = check_representations(reps)
    kept = widths(checked).clip(max=min(n_components, max(checked.sizes["stimulus"] - 1, 1)))
    size = int(kept.max())
    step = kernels.reducing(checked.sizes["feature"], checked.sizes["stimulus"], size)
    result = _stepped(step, checked, 1 + size, size)
    like = checked.drop_vars([name for name, c in checked.coords.items() if "feature" in c.dims])
    if "n_features" in like.coords:
        like = like.assign_coords(n_features=kept.reset_coords(drop=True))
    noted = _noted(result.rename({OUT: "feature"}), like, f"pca(n_components={n_components})")
    noted.attrs.pop("space", None)
    return noted


def stimulus_norm(reps: xr.DataArray) -> xr.DataArray:
    """Euclidean norm of every stimulus's vector, in each model.

    Raw dispersion follows it; partial it out of ``modulation`` beside ``local_density``.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width, or a shared space.

    Returns
    -------
    DataArray
        ``stimulus_norm`` (model, stimulus), at least 0, in the unit of the features; NaN where
        missing. Lazy if ``reps`` is; a task holds a block of stimuli.

    Raises
    ------
    SchemaError
        Faulty rows, by name, when computed.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.array([[3.0, 4.0], [0.0, 0.0]])}, stimuli=["cat", "dog"])
    >>> stimulus_norm(reps).values.tolist()
    [[5.0, 0.0]]
    """
    reps = check_representations(reps)

    def norms(part: slice) -> xr.DataArray:
        found: xr.DataArray = apply(
            row_norms,
            reps.isel({"stimulus": part}),
            widths(reps),
            core=[["stimulus", "feature"], []],
            out=[["stimulus"]],
            labels=("model", "stimulus"),
        )
        return found

    result = by_rows(reps, norms)
    return describe(
        result, "stimulus_norm", modality=reps.attrs.get("modality"), **pairing_attrs(reps)
    )
