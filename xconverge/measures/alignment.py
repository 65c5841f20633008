"""Cross-modal alignment: how well the models of two modalities agree."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels.neighbors import overlap
from xconverge.kernels.rdm import row_correlations
from xconverge.kernels.rows import METRICS, row_cosines
from xconverge.measures.neighbors import NEIGHBOR, check_k, neighbor_lists
from xconverge.measures.rdm import prepared_rows
from xconverge.schema import (
    Dims,
    Join,
    SchemaError,
    check_representations,
    check_shared,
    choose,
    describe,
    feature_dim,
    join_labels,
    on_side,
    widths,
)

CHOICES = ["cosine", "mutual_knn", "rdm"]


def alignment(
    a: xr.DataArray,
    b: xr.DataArray,
    metric: str = "mutual_knn",
    *,
    k: int = 10,
    rdm_metric: str = "correlation",
    join: Join = "exact",
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """How well every model of one modality agrees with every model of another, per stimulus.

    Parameters
    ----------
    a, b : DataArray
        (model, stimulus, feature), joined on the labels of ``stimulus``, never by position.
        Extra dims that both have are matched by label, others make an outer product.
    metric : {"mutual_knn", "cosine", "rdm"}
        ``mutual_knn``: |N_a(i) ∩ N_b(i)| / k over the k nearest neighbours by cosine among the
        stimuli the model saw, the stimulus itself excluded. ``rdm``: correlation of row i of
        the two RDMs. ``cosine``: cosine of the two vectors, for features in one shared space.
    k : int
        Neighbours, for ``mutual_knn``.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli, for ``rdm``.
    join : {"exact", "inner"}
        Refuse differing sets of stimuli, or keep those in both; how many were dropped is in
        ``attrs["n_dropped"]``.
    model, stimulus, feature : str
        Names of the dims.

    Returns
    -------
    DataArray
        ``alignment`` (…, model_a, model_b, stimulus), a similarity, in the order of ``a``; NaN
        where either model misses the stimulus. ``mutual_knn`` lies in [0, 1], its value under
        chance, k/(n-1), is in ``attrs["chance"]``; ``rdm`` and ``cosine`` lie in [-1, 1].
        Model coordinates carry the suffix of their side; stimulus coordinates too where the
        two sides contradict each other. Lazy if an input is.

    Warns
    -----
    UnalignedSpaceWarning
        ``cosine`` on features that are not marked as a shared space.
    RuntimeWarning
        ``rdm`` where a row has too few distances, or equal ones; the result is NaN there.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match, k not below the number of stimuli; faulty rows and vectors
        without a direction, by name, when computed.

    Notes
    -----
    Neighbour lists and prepared rows are made once for each model, however many pairs are
    scored. Memory: one model and a block of 32 MiB for lists, then lists only; for ``rdm`` the
    features of all models, RDM rows block by block. Ties between equal neighbours go to the
    label that sorts first (numbers inside labels by value), so that order changes nothing.

    ``mutual_knn`` is that of Huh et al. (2024), The Platonic Representation Hypothesis.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> x = np.random.default_rng(0).standard_normal((20, 8))
    >>> reps = stack_models({"net": x}, stimuli=[f"s{i}" for i in range(20)])
    >>> score = alignment(reps, reps[:, ::-1], k=3)
    >>> score.dims, float(score.mean())
    (('model_a', 'model_b', 'stimulus'), 1.0)
    """
    choose("metric", metric, CHOICES)
    sides: list[xr.DataArray] = []
    for side, what in ((a, "a"), (b, "b")):
        dim = feature_dim(side, feature)
        array = check_representations(side, model, stimulus, dim, what)
        sides.append(array.rename({dim: feature}) if dim != feature else array)
        if metric == "cosine":
            check_shared(array, "metric='cosine'", model, dim)
    a, b, dropped = join_labels(sides[0], sides[1], stimulus, join)
    a, b = _both_coordinates(a, b, stimulus)
    dims = (model, stimulus, feature)
    chance = None
    if metric == "mutual_knn":
        check_k(k, a.sizes[stimulus])
        result = _mutual_knn(a, b, dims, k)
        chance = k / (a.sizes[stimulus] - 1)
    elif metric == "rdm":
        choose("rdm_metric", rdm_metric, METRICS)
        result = _rdm_rows(a, b, dims, rdm_metric)
    else:
        result = _cosine(a, b, dims)
    return describe(
        result.transpose(..., f"{model}_a", f"{model}_b", stimulus),
        "alignment",
        metric=metric,
        modality_a=a.attrs.get("modality"),
        modality_b=b.attrs.get("modality"),
        k=k if metric == "mutual_knn" else None,
        rdm_metric=rdm_metric if metric == "rdm" else None,
        chance=chance,
        n_dropped=dropped,
    )


def _both_coordinates(
    a: xr.DataArray, b: xr.DataArray, stimulus: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Stimulus coordinates that contradict each other get the suffix of their side."""
    clash = [
        str(name)
        for name, coord in a.coords.items()
        if coord.dims == (stimulus,)
        and name in b.coords
        and not coord.variable.equals(b.coords[name].variable)
    ]
    return a.rename({n: f"{n}_a" for n in clash}), b.rename({n: f"{n}_b" for n in clash})


def _mutual_knn(a: xr.DataArray, b: xr.DataArray, dims: Dims, k: int) -> xr.DataArray:
    model, stimulus, _ = dims
    lists = [
        on_side(neighbor_lists(side, dims, k, what)[0], model, f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(overlap, *lists, core=[[stimulus, NEIGHBOR]] * 2, out=[[stimulus]])
    return result


def _rdm_rows(a: xr.DataArray, b: xr.DataArray, dims: Dims, metric: str) -> xr.DataArray:
    model, stimulus, feature = dims
    rows = [
        on_side(prepared_rows(side, dims, metric, what), model, f"_{what}").rename(
            {feature: f"{feature}_{what}"}
        )
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        row_correlations,
        *rows,
        core=[[f"{model}_{w}", stimulus, f"{feature}_{w}"] for w in ("a", "b")],
        out=[[f"{model}_a", f"{model}_b", stimulus]],
        metric=metric,
    )
    return result


def _cosine(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> xr.DataArray:
    model, stimulus, feature = dims
    width = {int(np.max(widths(side, feature))) for side in (a, b)}
    if len(width) > 1:
        raise SchemaError(
            f"metric='cosine' needs both sides in one shared space, they have {sorted(width)} "
            "features; use 'mutual_knn' or 'rdm' for unrelated spaces"
        )
    real = {feature: slice(width.pop())}
    rows = [
        on_side(prepared_rows(side.isel(real), dims, "cosine", what), model, f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        row_cosines, *rows, core=[[stimulus, feature]] * 2, out=[[stimulus]]
    )
    return result
