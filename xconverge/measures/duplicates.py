"""Groups of near-duplicate stimuli, proposed from how near stimuli are in all models."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import pairing_attrs
from xconverge.kernels import duplicates as kernels
from xconverge.labels.arguments import check_neighbors, real
from xconverge.labels.checks import check_features, check_representations, widths
from xconverge.labels.coordinates import carried
from xconverge.labels.joins import natural_rank
from xconverge.labels.variables import describe
from xconverge.measures.neighbors import nearest_lists


def find_duplicates(
    reps: xr.DataArray, threshold: float = 0.2, *, of_models: float = 0.5, k: int = 10
) -> xr.DataArray:
    """Groups of near-duplicate stimuli, to be looked at and given as ``blocks``.

    Two stimuli are near-duplicates if, in a share of the models that saw both, their cosine
    distance is far below what neighbours have; what is linked by others is one group.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width; extra dims count as further models.
    threshold : float
        What far below is: this part of the median distance to the k-th neighbour in the model. In
        a model of few dimensions it is less, so that a cloud has no such pairs by chance.
    of_models : float
        Share of the models, above 0 and at most 1.
    k : int
        Neighbours searched for each stimulus.

    Returns
    -------
    DataArray
        ``duplicates`` (stimulus), text: the first label, in natural order, of the group; that of a
        stimulus that has no near-duplicate is its own. ``attrs["n_groups"]`` counts the groups of
        several. In memory: which stimuli are linked rests on all of them. Neighbours are searched
        block by block, and no distances between all stimuli are kept.

    Raises
    ------
    SchemaError, ValueError
        Faulty rows or zero vectors, by name; k not below the number of stimuli.

    Notes
    -----
    A proposal: read the groups before they are used, with several thresholds. Chains join what is
    not alike itself: clock faces become one group. Duplicates in one modality (a caption used
    twice) may be none in another; give both sets, each its call, or join what they say.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> x = np.random.default_rng(0).standard_normal((30, 16))
    >>> x[7] = x[3] + 0.01
    >>> reps = stack_models({"net": x}, stimuli=[f"s{i}" for i in range(30)])
    >>> found = find_duplicates(reps)
    >>> found.sel(stimulus=["s3", "s7", "s8"]).values.tolist(), found.attrs["n_groups"]
    (['s3', 's3', 's8'], 1)
    """
    reps = check_representations(reps)
    check_features(reps)
    real("threshold", threshold, above=0, below=1)
    real("of_models", of_models, above=0, most=1)
    check_neighbors(k, reps.sizes["stimulus"])
    index = reps.indexes["stimulus"]
    lists, cosines = (part.compute() for part in nearest_lists(reps, k))
    most: xr.DataArray = apply(
        partial(kernels.reach, threshold=threshold), cosines, core=[["stimulus", "neighbor"]]
    )
    models = [dim for dim in lists.dims if dim not in ("stimulus", "neighbor")]
    each = [
        kernels.candidates(near.values, cosine.values, float(limit))
        for near, cosine, limit in zip(
            *(part.stack(_model=models, create_index=False).transpose("_model", ...)
              for part in (lists, cosines, most)),
            strict=True,
        )
    ]  # fmt: skip
    pairs = np.unique(np.concatenate(each), axis=0)
    where = xr.DataArray(pairs, dims=("_pair", "_end"))
    found: xr.DataArray = apply(
        kernels.near,
        reps,
        widths(reps),
        where,
        most.drop_vars("n_features", errors="ignore"),
        core=[["stimulus", "feature"], [], ["_pair", "_end"], []],
        out=[["_pair"]],
    ).compute()
    several = found.mean(models).values
    first = kernels.groups(len(index), pairs, several, of_models, natural_rank(index))
    names = np.asarray(index, dtype=object)[first]
    result = xr.DataArray(names, dims="stimulus", coords={"stimulus": index})
    return describe(
        carried(result, reps["stimulus"].coords),
        "duplicates",
        metric="cosine",
        threshold=threshold,
        of_models=of_models,
        k=k,
        n_groups=int((np.bincount(first) > 1).sum()),
        modality=reps.attrs.get("modality"),
        **pairing_attrs(reps),
    )
