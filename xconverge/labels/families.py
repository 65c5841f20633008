"""Families: models that are no independent sources, layers of one network or parts of one subject.

Where several models have the same value of the coordinate ``network`` (else of ``subject``), they
are one family: left out together, and counted once in means over models.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.checks import group_numbers
from xconverge.labels.coordinates import read
from xconverge.labels.messages import SchemaError, listing

OWNERS = ("network", "subject")
Array = np.ndarray[Any, Any]


class Families(NamedTuple):
    """Which family (model) each model is of, what they are called, and by which coordinate."""

    numbers: Array
    names: Array
    owner: str

    @property
    def several(self) -> bool:
        """Whether some family has several models."""
        return len(self.names) < len(self.numbers)

    @property
    def what(self) -> str:
        """What they are, in words."""
        return f"{self.owner}s"

    def listed(self) -> str:
        """What there is, for an error."""
        few = listing(self.names)
        return f"all of the {self.owner} {few}" if self.several else few


def families(array: xr.DataArray, dim: str = "model") -> Families:
    """The families of the models along ``model``, ``model_a`` or ``model_b``.

    A model for which the coordinate says nothing is its own.
    """
    labels = np.asarray(array.indexes.get(dim, range(array.sizes[dim])), dtype=object)
    for owner in OWNERS:
        coord = array.coords.get(owner + dim.removeprefix("model"))
        if coord is None or coord.dims != (dim,):
            continue
        values = np.asarray(read(coord), dtype=object)
        unknown = np.asarray(pd.isna(values)) | (values == "")
        known = values[~unknown]
        if len(set(known)) < len(known):
            same = [label for label in labels[unknown] if label in set(known)]
            if same:
                raise SchemaError(
                    f"{listing(same)} has no {owner!r}, and there is a {owner} of that name; fill "
                    "it in, or give the model another name"
                )
            numbers, names = pd.factorize(np.where(unknown, labels, values))
            return Families(numbers, np.asarray(names, dtype=object), owner)
    return Families(np.arange(len(labels)), labels, "model")


def left_out_groups(reps: xr.DataArray, leave_out: str) -> Array:
    """Number (model) of the group that is left out with each model.

    ``leave_out`` is ``"model"``, then they are families, or a coordinate of the models.
    """
    of = families(reps)
    own = leave_out in ("model", of.owner)
    return of.numbers if own else group_numbers(reps, leave_out, "leave_out")[0]


def left_out_with(reps: xr.DataArray, leave_out: str) -> Array:
    """Which models (model, model) are left out with which: of its group, and of its family."""
    same = [
        numbers[:, None] == numbers
        for numbers in (left_out_groups(reps, leave_out), families(reps).numbers)
    ]
    return np.asarray(same[0] | same[1], dtype=bool)


def families_left(reps: xr.DataArray, leave_out: str) -> Array:
    """How many families (model) are left without each model and what is left out with it."""
    numbers = families(reps).numbers
    return np.array([len(set(numbers[~own])) for own in left_out_with(reps, leave_out)])


def _objects(values: Any) -> Array:
    """An array of objects of one dim, also of tuples."""
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def as_subjects(array: xr.DataArray, what: str) -> xr.DataArray:
    """The array whose models are subjects along ``subject``: those that its coordinate names.

    Readers keep what models were made by, ``by=["subject", "region"]`` say, as coordinates: models
    of all regions of all subjects get both dims.
    """
    if "model" not in array.dims or "subject" in array.dims:
        return array
    own, region = (array.coords.get(name) for name in ("subject", "region"))
    if own is None or own.dims != ("model",):
        raise SchemaError(
            f"{what} has the dim 'model': .rename(model='subject') to average over it, or choose "
            "one with .sel(model=…)"
        )
    names = read(own)
    if len(set(names)) == len(names):
        return array.drop_vars("subject").assign_coords(model=names).rename(model="subject")
    parts = [names] if region is None or region.dims != ("model",) else [names, read(region)]
    pairs = set(zip(*parts, strict=True))
    if len(parts) < 2 or not len(pairs) == len(names) == np.prod([len(set(one)) for one in parts]):
        raise SchemaError(
            f"{what} has {len(names)} models of the subjects {listing(dict.fromkeys(names))}, and "
            "each subject counts once: choose one of each with .isel(model=…), or average them "
            "with .groupby('subject').mean()"
        )
    other = [
        n for n, c in array.coords.items() if "model" in c.dims and n not in ("subject", "region")
    ]
    flat = array.drop_vars(other).set_index(model=["region", "subject"])
    return flat.unstack("model").transpose(
        "region", "subject", *(d for d in array.dims if d != "model")
    )
