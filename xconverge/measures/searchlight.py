"""RSA of every neighbourhood of features: a searchlight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from xconverge.engine.neighborhoods import neighborhoods_of
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.searchlight import BIN, How, searched
from xconverge.kernels.vectors import METRICS
from xconverge.labels.arguments import whole
from xconverge.labels.checks import check_dims, check_labels
from xconverge.labels.joins import join_all
from xconverge.labels.messages import choose
from xconverge.labels.variables import described
from xconverge.measures.rdm import rdms_of
from xconverge.measures.rsa import METHODS

Lists = Sequence[Iterable[Any]] | Mapping[Any, Iterable[Any]] | xr.DataArray | Any
"""Features of each neighbourhood: lists, a dict of them, or a matrix (center, feature)."""


def searchlight(
    reps: xr.DataArray,
    target: xr.DataArray,
    *,
    neighborhoods: Lists | None = None,
    coordinates: str | Sequence[str] | None = None,
    radius: float | None = None,
    centers: Iterable[Any] | None = None,
    rdm_metric: str = "correlation",
    method: str = "spearman",
    min_features: int = 2,
) -> xr.Dataset:
    """RSA of every neighbourhood of features, the voxels around each voxel say, with a target.

    Parameters
    ----------
    reps : DataArray
        (…, model, stimulus, feature), a brain say, whose features are voxels; ``model`` may be
        absent, extra dims (``subject``, ``time``, ``repetition`` …) are mapped over.
    target : DataArray
        RDMs (…, stimulus, stimulus_2), or representations, whose RDMs are made with
        ``rdm_metric``. Its models are kept; extra dims that both have are matched by label,
        others make an outer product. Many targets cost little more than one.
    neighborhoods : list of lists, dict of lists, or matrix, optional
        The features of each neighbourhood: positions, or labels where ``feature`` has labels. A
        dict names the centres. Or a Boolean or sparse matrix (center, feature), what is not 0
        being inside; a DataArray is joined on the labels of ``feature``. A centre is in its own
        neighbourhood only where it is listed.
    coordinates : str or sequence of str, optional
        In place of ``neighborhoods``: coordinates on ``feature``, ``("x", "y", "z")`` say. All
        features at most ``radius`` away are neighbours, the centre among them.
    radius : float, optional
        Largest Euclidean distance, in the unit of ``coordinates``.
    centers : list, optional
        Features around which neighbourhoods lie, as in the lists, one for each of them; with
        ``coordinates`` by default all features.
    rdm_metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        Distance between stimuli.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison of RDMs, as in ``rsa``.
    min_features : int
        A neighbourhood of fewer has no RSA. Correlation needs 2, and says little of so few.

    Returns
    -------
    Dataset
        ``rsa`` (model_a, …, model_b, …, center) in [-1, 1], a similarity, that of
        ``rsa(rdm(neighbourhood), target)`` in double; and ``n_features`` (center), or (model_a,
        center) where models differ in width: features that are padding are in no neighbourhood.
        ``center`` has the label of its feature, or its position, and the coordinates of it;
        without ``centers``, names or numbers of the lists. NaN with a warning where there are too
        few features, a stimulus has a constant (for cosine a zero) pattern inside the
        neighbourhood, or all its distances are equal. Lazy if an input is.

    Warns
    -----
    RuntimeWarning
        Neighbourhoods and targets without a result, by name; of lazy input when computed.

    Raises
    ------
    SchemaError
        Labels that do not match, unknown features or coordinates, faulty rows by name.
    TypeError, ValueError
        Neither or both ways to say what is a neighbourhood; features that are listed twice or that
        are not there.

    Notes
    -----
    Kriegeskorte, Goebel & Bandettini (2006). Stimuli that a model never saw are left out for that
    model. Targets are ranked once a model. A task holds a block of some hundred neighbourhoods (32
    MiB of RDMs, at least 16): the features that they use, over all stimuli, and a few MiB beside;
    features that lie next to each other in space should do so in ``feature`` and in its chunks.
    In memory, blocks are done in dask's threads.

    There is no p-value here. For one that holds over all centres, permute the labels of the
    target's stimuli, the same way for all centres, keep the maximum over centres of every
    permutation, and compare with these; a subject a permutation, and a max-T over centres, where
    subjects are many.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> x = np.random.default_rng(0).standard_normal((8, 12))
    >>> brain = stack_models({"s1": x}, stimuli=list("abcdefgh"))
    >>> brain = brain.assign_coords(x=("feature", np.arange(12.0)))
    >>> target = stack_models({"network": x[:, 4:7]}, stimuli=list("abcdefgh"))
    >>> table = searchlight(brain, target, coordinates="x", radius=1)
    >>> int(table["rsa"].squeeze().argmax("center")), table["n_features"].values[:3].tolist()
    (5, [2, 3, 3])
    """
    reps, target, attrs = joined(reps, target, rdm_metric, method, min_features)
    hoods = neighborhoods_of(reps, neighborhoods, coordinates, radius, centers)
    metric, how = METRICS[rdm_metric], METHODS[method].make
    found, counts = searched(reps, target, hoods, How(metric, how, min_features, None, 1))
    return described(
        {"rsa": found.isel({BIN: 0}), "n_features": counts}, **attrs, **within(coordinates, radius)
    )


def within(coordinates: str | Sequence[str] | None, radius: float | None) -> dict[str, Any]:
    """What the attrs of a result say of its neighbourhoods."""
    if coordinates is None or radius is None:
        return {}
    names = [coordinates] if isinstance(coordinates, str) else list(coordinates)
    return {"coordinates": names, "radius": float(radius)}


def joined(
    reps: xr.DataArray,
    target: xr.DataArray,
    rdm_metric: str,
    method: str,
    min_features: int,
    **more: xr.DataArray,
) -> tuple[Any, ...]:
    """The set, target RDMs and what else is given, over the same stimuli; attrs of a result."""
    choose("rdm_metric", rdm_metric, METRICS)
    choose("method", method, METHODS)
    whole("min_features", min_features, 1)
    reps = check_dims(reps, "stimulus", "feature", what="reps")
    check_labels(reps, "stimulus", what="reps")
    if "model" in reps.dims:
        check_labels(reps, "model", what="reps")
    rdms = rdms_of(target, rdm_metric)
    (reps, rdms, *others), _ = join_all("exact", reps=reps, target=rdms, **more)
    attrs = {
        "metric": method, "rdm_metric": rdm_metric, "min_features": int(min_features),
        "modality": reps.attrs.get("modality"), **pairing_attrs(reps, target, *more.values()),
    }  # fmt: skip
    return reps, rdms, *others, attrs
