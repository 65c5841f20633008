"""The sources of one import: all are read and checked, and become one set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from xconverge.engine.chunks import recommend_chunks
from xconverge.io.formats._places import COUNTS, Place
from xconverge.io.formats._stacked import representations
from xconverge.labels.checks import validate, widths
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, escaped, listing

Sets = dict[Path, xr.DataArray]


@contextmanager
def naming(source: object, always: bool = False) -> Iterator[None]:
    """What libraries raise becomes an error that names the source, ``always`` what is ours too."""
    try:
        yield
    except ImportError:
        raise
    except (SchemaError, FileNotFoundError, FileExistsError) as error:
        if always and not str(error).startswith(escaped(source)):
            raise SchemaError(f"{source}: {error}") from error
        raise
    except (OSError, ValueError, MemoryError) as error:
        raise SchemaError(f"{source}: {error}") from error


def read_all(
    read: Any, sources: list[Path], models: list[str] | None, keywords: Mapping[str, Any]
) -> Sets:
    """What the reader makes of every source; of several, every value is checked."""
    if len(set(sources)) < len(sources):
        raise SchemaError(f"the sources are not all different: {listing(sources)}")
    sets: Sets = {}
    for source, model in zip(sources, _models(models, sources), strict=True):
        with naming(source, always=len(sources) > 1):
            sets[source] = read(source, **keywords, **({} if model is None else {"model": model}))
            if len(sources) > 1:
                _check(sets[source])
    return sets


def _models(models: list[str] | None, sources: list[Path]) -> list[str | None]:
    """What ``model`` is for every source: the same for all, or one each, in their order."""
    given: list[str | None] = [*models] if models else [None]
    if len(given) not in (1, len(sources)):
        raise SchemaError(
            f"--model is given {len(given)} times ({listing(given)}), and the sources are "
            f"{len(sources)}; give it once for each, in their order"
        )
    return given * len(sources) if len(given) == 1 else given


def _check(reps: xr.DataArray) -> None:
    """A lazy set has not been read; what is in memory was checked by its reader."""
    if reps.chunks is not None:
        validate(reps.chunk(recommend_chunks(reps)))


def in_modality(sets: Sets, there: xr.DataArray, modality: str, missing: bool) -> tuple[Sets, Any]:
    """The sets with the stimuli of the modality ``there``, and a line for each that lacks some."""
    found, lines = {}, []
    for source, reps in sets.items():
        stimuli, own = there.indexes["stimulus"], reps.indexes["stimulus"]
        lacking = stimuli[~stimuli.isin(own)]
        if len(own) + len(lacking) > len(stimuli):
            names = (f"the modality {modality!r}", str(source))
            join_labels(there, reps, "stimulus", "exact", names, "Leave out what it does not have")
        told = f"{source} lacks {len(lacking)} of {len(stimuli)} stimuli of {modality!r}"
        if len(lacking) and not missing:
            raise SchemaError(
                f"{told}: {listing(lacking)}; --missing appends its models with NaN for them"
            )
        if len(lacking):
            lines.append(f"{told}, which are NaN: {listing(lacking)}")
        found[source] = _with_rows(reps, there) if len(lacking) else reps
    return found, lines


def _with_rows(reps: xr.DataArray, there: xr.DataArray) -> xr.DataArray:
    """The set with a row for every stimulus of the modality, which also says what they are."""
    stimuli = there.indexes["stimulus"]
    filled: dict[str, Any] = {}
    for name, coord in reps.coords.items():
        known = there.coords.get(name)
        if name != "stimulus" and coord.dims == ("stimulus",) and known is not None:
            if known.dims != coord.dims:
                continue
            column = pd.Series(known.values, index=stimuli, dtype=object)
            column[reps.indexes["stimulus"]] = coord.values.astype(object)
            filled[str(name)] = ("stimulus", column.infer_objects().to_numpy())
    whole = reps.reindex(stimulus=stimuli, fill_value={COUNTS: 0})
    return whole.assign_coords(filled)


def together(sets: Sets, modality: str) -> xr.DataArray:
    """The models of all sources, which have the same stimuli, as one set."""
    (first, reps), *others = sets.items()
    if not others:
        return reps
    models = {str(name): first for name in reps.indexes["model"]}
    for source, other in others:
        names = (str(first), str(source))
        cure = "Import them one by one, with --append --missing"
        join_labels(reps, other, "stimulus", "exact", names, cure)
        for name in map(str, other.indexes["model"]):
            if name in models:
                raise SchemaError(
                    f"{models[name]} and {source} both have the model {name!r}; give --model once "
                    "for each source"
                )
            models[name] = source
    with naming(", ".join(map(str, sets)), always=True):
        found: dict[Place, xr.DataArray] = {
            (name,): _one(sets[models[name]], name) for name in models
        }
        whole = representations(found, "the import", modality=modality)
        _check_told_alike(whole, sets)
    return whole


def _check_told_alike(whole: xr.DataArray, sets: Sets) -> None:
    """What is said of stimuli, and not of models, is the same in all sources."""
    for name, coord in whole.coords.items():
        said = [reps.coords[name].dims for reps in sets.values() if name in reps.coords]
        if "model" in coord.dims and set(said) == {("stimulus",)} and name != COUNTS:
            differ = coord.to_pandas().nunique() > 1
            raise SchemaError(
                f"coordinate {name!r} of some models contradicts that of others at "
                f"{listing(differ.index[differ])}; leave it out of all sources but one"
            )


def _one(reps: xr.DataArray, name: str) -> xr.DataArray:
    """One model of a set, without padding."""
    model = reps.sel(model=name).drop_vars("model")
    return model.isel(feature=slice(int(widths(model).max())))
