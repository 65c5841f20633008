"""Pre-processing of representation sets: labels stay, lazy stays lazy, the input stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from xconverge._apply import apply
from xconverge.kernels import preprocess as kernels
from xconverge.kernels.rows import working_dtype
from xconverge.schema import check_representations, feature_dim, widths


def _preprocessed(
    kernel: Callable[..., Any],
    reps: xr.DataArray,
    text: str,
    names: tuple[str, str, str],
    **options: Any,
) -> xr.DataArray:
    """Run a kernel on the rows (stimulus, feature) of every model; note it in the attrs."""
    model, stimulus, feature = names
    feature = feature_dim(reps, feature)
    checked = check_representations(reps, model, stimulus, feature)
    dtype = working_dtype(checked.dtype)
    result: xr.DataArray = apply(
        kernel,
        checked,
        widths(checked, feature),
        core=[[stimulus, feature], []],
        out=[[stimulus, feature]],
        dtypes=[dtype],
        labels=(model, stimulus),
        dtype=dtype,
        **options,
    )
    return _noted(result, checked, text)


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


def center(
    reps: xr.DataArray,
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Subtract from every feature its mean over the stimuli that the model saw.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.
    model, stimulus, feature : str
        Names of the dims.

    Returns
    -------
    DataArray
        Like ``reps``, with all its coordinates; float32 for features of up to 4 bytes, else
        float64; ``attrs["preprocessing"]`` notes what was done. Lazy if ``reps`` is; a task holds
        one model.

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
    return _preprocessed(kernels.center, reps, "center", (model, stimulus, feature))


def zscore(
    reps: xr.DataArray,
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Give every feature mean 0 and standard deviation 1 over the stimuli that the model saw.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.
    model, stimulus, feature : str
        Names of the dims.

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
    return _preprocessed(kernels.zscore, reps, "zscore", (model, stimulus, feature))


def unit_rows(
    reps: xr.DataArray,
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Divide every row by its Euclidean norm.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.
    model, stimulus, feature : str
        Names of the dims.

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
    return _preprocessed(kernels.unit_rows, reps, "unit_rows", (model, stimulus, feature))


def clamp(
    reps: xr.DataArray,
    quantile: float = 0.95,
    *,
    exact: bool = False,
    layer: str = "layer",
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Clip the outliers of every model at a quantile of its absolute values.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width; a dim ``layer`` shares one limit.
    quantile : float
        In (0, 1]; 1 changes nothing.
    exact : bool
        One quantile of all values, instead of the mean over stimuli of the quantile within each.
    layer, model, stimulus, feature : str
        Names of the dims.

    Returns
    -------
    DataArray
        Like ``reps``, as ``center`` returns it, clipped to [-limit, limit]. A task holds all
        layers of a model.

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
    feature = feature_dim(reps, feature)
    checked = check_representations(reps, model, stimulus, feature)
    real = widths(checked, feature)
    core = [dim for dim in (layer, stimulus, feature) if dim in checked.dims]
    dtype = working_dtype(checked.dtype)
    result: xr.DataArray = apply(
        kernels.clamp,
        checked,
        real,
        core=[core, [dim for dim in core if dim in real.dims]],
        out=[core],
        dtypes=[dtype],
        labels=(model, stimulus),
        quantile=quantile,
        exact=exact,
        dtype=dtype,
    )
    return _noted(result, checked, f"clamp(quantile={quantile}{', exact' if exact else ''})")


def pca(
    reps: xr.DataArray,
    n_components: int,
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Scores of every model on its own first principal components.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), features of any width.
    n_components : int
        Components to keep, at least 1.
    model, stimulus, feature : str
        Names of the dims.

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
    feature = feature_dim(reps, feature)
    checked = check_representations(reps, model, stimulus, feature)
    dtype = working_dtype(checked.dtype)
    real = widths(checked, feature)
    most = max(checked.sizes[stimulus] - 1, 1)
    kept = real.clip(max=min(n_components, most))
    size = int(kept.max())
    result: xr.DataArray = apply(
        kernels.pca,
        checked,
        real,
        core=[[stimulus, feature], []],
        out=[[stimulus, "_component"]],
        sizes={"_component": size},
        dtypes=[dtype],
        labels=(model, stimulus),
        n_components=size,
        dtype=dtype,
    )
    like = checked.drop_vars([name for name, c in checked.coords.items() if feature in c.dims])
    if "n_features" in like.coords:
        like = like.assign_coords(n_features=kept.reset_coords(drop=True))
    result = result.rename({"_component": feature})
    noted = _noted(result, like, f"pca(n_components={n_components})")
    noted.attrs.pop("space", None)
    return noted.rename({feature: "feature"}) if feature == "component" else noted
