"""Representational dissimilarity matrices and their similarity (RSA)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels import rdm as kernels
from xconverge.kernels.rows import METRICS
from xconverge.schema import (
    Dims,
    Join,
    SchemaError,
    check_dims,
    check_labels,
    choose,
    describe,
    feature_dim,
    join_labels,
    listing,
    on_side,
    take,
    widths,
)

METHODS = {"spearman": True, "pearson": False}
"""Whether the method compares ranks."""


def prepared_rows(reps: xr.DataArray, dims: Dims, metric: str, what: str = "reps") -> xr.DataArray:
    """Rows (…, stimulus, feature) whose squared distances make the RDM, once a model."""
    model, stimulus, feature = dims
    rows: xr.DataArray = apply(
        kernels.prepared,
        reps,
        widths(reps, feature, what),
        core=[[stimulus, feature], []],
        out=[[stimulus, feature]],
        labels=(model, stimulus),
        what=what,
        metric=metric,
    )
    return rows


def rdm(
    reps: xr.DataArray,
    metric: str = "correlation",
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Dissimilarity of every pair of stimuli, inside each model.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width; ``model`` may be absent, extra
        dims (``subject``, ``time_bin`` …) are mapped over.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance, as scipy names it.
    model, stimulus, feature : str
        Names of the dims.

    Returns
    -------
    DataArray
        ``rdm`` (…, stimulus, stimulus_2), a distance; 0 on the diagonal, NaN in the rows and
        columns of missing stimuli; float32 for features of up to 4 bytes, computed in float64.
        Lazy if ``reps`` is; a task holds one model and one RDM.

    Raises
    ------
    SchemaError
        Faulty rows, zero vectors under ``cosine`` and constant ones under ``correlation``, by
        name, when computed.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> rdm(reps, "sqeuclidean").sel(model="a", stimulus="cat").values.tolist()
    [0.0, 2.0, 2.0]
    """
    choose("metric", metric, METRICS)
    feature = feature_dim(reps, feature)
    reps = check_dims(reps, stimulus, feature)
    check_labels(reps, stimulus)
    if model in reps.dims:
        check_labels(reps, model)
    second = f"{stimulus}_2"
    result = apply(
        kernels.distances,
        reps,
        widths(reps, feature),
        core=[[stimulus, feature], []],
        out=[[stimulus, second]],
        sizes={second: reps.sizes[stimulus]},
        labels=(model, stimulus),
        metric=metric,
    )
    if reps.dtype.itemsize <= 4 and reps.dtype.kind == "f":
        result = result.astype(np.float32)
    result = result.assign_coords(on_side(reps[stimulus], stimulus, "_2").coords)
    return describe(result, "rdm", metric=metric, modality=reps.attrs.get("modality"))


def rsa(
    rdm_a: xr.DataArray,
    rdm_b: xr.DataArray,
    method: str = "spearman",
    *,
    join: Join = "exact",
    model: str = "model",
    stimulus: str = "stimulus",
) -> xr.DataArray:
    """Similarity of RDMs: one number per pair.

    Parameters
    ----------
    rdm_a, rdm_b : DataArray
        (…, stimulus, stimulus_2), symmetric; joined on the labels of ``stimulus``. Extra dims
        that both have are matched by label, others make an outer product.
    method : {"spearman", "pearson"}
        Correlation of the upper triangles, over the pairs of stimuli that both have.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those in both.
    model, stimulus : str
        Names of the dims.

    Returns
    -------
    DataArray
        ``rsa`` (model_a, model_b, …) in [-1, 1], a similarity; a side without ``model`` has
        none in the result. NaN with a warning for fewer than 3 pairs of stimuli, or where all
        distances of an RDM are equal. Lazy if an input is; a task holds two RDMs. Every RDM is
        ranked once.

    Raises
    ------
    SchemaError
        Labels that do not match.
    ValueError
        An RDM that is not symmetric, when computed.

    Notes
    -----
    Kriegeskorte, Mur & Bandettini (2008). A p-value comes from permuting stimulus labels
    (``binned_rsa``), never from the correlation of dependent entries.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> x = np.random.default_rng(0).standard_normal((5, 8))
    >>> reps = stack_models({"a": x, "b": 2 * x}, stimuli=list("vwxyz"))
    >>> rsa(rdm(reps), rdm(reps)).values.round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    choose("method", method, METHODS)
    a, b, dropped = join_rdms(rdm_a, rdm_b, join, stimulus)
    ranked = METHODS[method]
    second = f"{stimulus}_2"
    triangles = [
        apply(
            kernels.triangle,
            on_side(side, model, suffix),
            core=[[stimulus, second]],
            out=[["_pair"]],
            sizes={"_pair": side.sizes[stimulus] * (side.sizes[stimulus] - 1) // 2},
            ranked=ranked,
        )
        for side, suffix in ((a, "_a"), (b, "_b"))
    ]
    result = apply(kernels.compare, *triangles, core=[["_pair"]] * 2, ranked=ranked)
    return describe(result, "rsa", metric=method, n_dropped=dropped)


def join_rdms(
    a: xr.DataArray, b: xr.DataArray, join: Join = "exact", stimulus: str = "stimulus"
) -> tuple[xr.DataArray, xr.DataArray, int]:
    """Two sets of RDMs over the same stimuli in the same order, rows and columns."""
    a, b = _square(a, "rdm_a", stimulus), _square(b, "rdm_b", stimulus)
    a, b, dropped = join_labels(a, b, stimulus, join, ("rdm_a", "rdm_b"))
    second = f"{stimulus}_2"
    return (
        take(a, second, a.indexes[stimulus]),
        take(b, second, b.indexes[stimulus]),
        dropped,
    )


def _square(array: xr.DataArray, what: str, stimulus: str) -> xr.DataArray:
    second = f"{stimulus}_2"
    array = check_dims(array, stimulus, second, what=what)
    check_labels(array, stimulus, second, what=what)
    rows, columns = array.indexes[stimulus], array.indexes[second]
    if len(rows) != len(columns) or not rows.isin(columns).all():
        raise SchemaError(
            f"{what} must have the same labels on {stimulus!r} and {second!r}; "
            f"only among the rows: {listing(rows[~rows.isin(columns)])}"
        )
    return take(array, second, rows)
