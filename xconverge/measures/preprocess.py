"""Pre-processing of representation sets: labels stay, lazy stays lazy, the input stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import by_rows, handles, is_long
from xconverge.kernels import preprocess as kernels
from xconverge.kernels.vectors import working_dtype
from xconverge.labels.checks import check_representations, widths

OUT, FITTED, FITTED_FEATURE = "_out", "_fitted", "_fitted_feature"


def _stepped(
    step: kernels.Step,
    reps: xr.DataArray,
    n_fitted: int,
    size: int,
    **options: Any,
) -> xr.DataArray:
    """Fit a step to every model and take it: rows (stimulus, feature) become (stimulus, ``OUT``).

    ``n_fitted`` rows are fitted, ``size`` is that of ``OUT``. Long models are read block by block.
    """
    real, dtype = widths(reps), working_dtype(reps.dtype)
    named: dict[str, Any] = {"labels": ("model", "stimulus"), "what": "reps"}
    if not is_long(reps):
        result: xr.DataArray = apply(
            kernels.in_one,
            reps,
            real,
            core=[["stimulus", "feature"], []],
            out=[["stimulus", OUT]],
            sizes={OUT: size},
            dtypes=[dtype],
            **named,
            step=step,
            dtype=dtype,
            **options,
        )
        return result
    fitted = apply(
        step.fit,
        handles(reps),
        real,
        core=[[], []],
        out=[[FITTED, FITTED_FEATURE]],
        sizes={FITTED: n_fitted, FITTED_FEATURE: reps.sizes["feature"]},
        **named,
        named=reps,
        **options,
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
            **named,
            dtype=dtype,
        )
        return placed

    return by_rows(reps, place)


def _noted(result: xr.DataArray, reps: xr.DataArray, text: str) -> xr.DataArray:
    """A result with the coordinates of ``reps``, their attrs too, and the note of this step."""
    before = reps.attrs.get("preprocessing")
    return xr.DataArray(
        result.transpose(*reps.dims).data,
        coords=reps.coords,
        dims=reps.dims,
        name="representation",
        attrs={**reps.attrs, "preprocessing": f"{before}; {text}" if before else text},
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
    result = _stepped(kernels.CENTER, checked, 1, size)
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
    result = _stepped(kernels.ZSCORE, checked, 2, size)
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
    result = _stepped(kernels.PCA, checked, 1 + size, size, n_components=size)
    like = checked.drop_vars([name for name, c in checked.coords.items() if "feature" in c.dims])
    if "n_features" in like.coords:
        like = like.assign_coords(n_features=kept.reset_coords(drop=True))
    noted = _noted(result.rename({OUT: "feature"}), like, f"pca(n_components={n_components})")
    noted.attrs.pop("space", None)
    return noted
