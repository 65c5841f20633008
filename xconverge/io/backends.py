"""Engines of xarray: ``xr.open_dataset(path, engine="xconverge")``, and of two other layouts.

``pyproject.toml`` names them to xarray, which imports this file whenever it lists its engines. So
what they need is imported when they open something.

``brainio`` is a free name: BrainIO has no engine (it opens files by ``netcdf4``), and asks for an
xarray older than any that runs here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr
from xarray.backends import BackendEntrypoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xconverge.io.formats._padding import Gaps
    from xconverge.io.formats._presentations import Repetitions
    from xconverge.io.formats._sets import Ids
    from xconverge.io.zarr.places import Options


class StoreEngine(BackendEntrypoint):
    """Stores, lazily: what `open_representations` opens, with all of its checks."""

    description = "Open stores of xconverge: modalities, and results beside them"
    url = "https://github.com/xconverge/xconverge/blob/main/docs/storing.md"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is the root of a store of ours on this machine: it says so itself."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        document = Path(os.path.expanduser(filename_or_obj)) / "zarr.json"
        try:
            attributes = json.loads(document.read_bytes()).get("attributes", {})
        except (OSError, ValueError, AttributeError):
            return False
        return "xconverge_schema" in attributes

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        incomplete: Literal["skip", "error"] = "skip",
        storage_options: Options | None = None,
    ) -> xr.Dataset:
        """Open one group: a modality, RDMs (``rdms/vision``), a result."""
        from xconverge.io.store import open_modality
        from xconverge.io.zarr.root import existing_store, modality_names, open_groups
        from xconverge.labels.messages import SchemaError, choose, listing

        choose("incomplete", incomplete, ["skip", "error"])
        root = existing_store(filename_or_obj, storage_options)
        name = (group or "").strip("/")
        names = modality_names(root)
        if name in names or (name and incomplete == "error"):
            array = open_modality(root, name, incomplete, chunked=False)
            return _given(array.to_dataset(), drop_variables)
        groups = open_groups(root, chunked=False)
        found = groups.get(f"/{name}")
        if found is None or (not name and names and not found.variables):
            what = f"has no group {name!r}" if name else "holds several arrays, each in a group"
            raise SchemaError(
                f"{root} {what}; name one with group='…': {listing(names) or 'no modality'}"
                f"{_others(groups, names)}"
            )
        return _given(found, drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Options | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open all groups, by path."""
        from xconverge.io.zarr.root import existing_store, open_groups

        groups = open_groups(existing_store(filename_or_obj, storage_options), chunked=False)
        return {path: _given(found, drop_variables) for path, found in groups.items()}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Options | None = None,
    ) -> xr.DataTree:
        """Open a whole store: a node for each group."""
        return xr.DataTree.from_dict(
            self.open_groups_as_dict(
                filename_or_obj, drop_variables=drop_variables, storage_options=storage_options
            )
        )


class BrainioEngine(BackendEntrypoint):
    """Assemblies of Brain-Score and BrainIO in netCDF, as `read_brainio` reads them."""

    description = "Open BrainIO assemblies (.nc) as stimulus × feature"
    url = "https://github.com/xconverge/xconverge/blob/main/docs/interop.md"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        region: Any = None,
        repetitions: Repetitions = "error",
        stimulus_id: str | None = None,
        model: str | None = None,
        by: str | Sequence[str] | None = None,
        gaps: Gaps | None = None,
        modality: str | None = None,
        variable: str | None = None,
    ) -> xr.Dataset:
        """Open a file; it is read as a whole."""
        from xconverge.io.formats.brainio import read_brainio

        array = read_brainio(
            filename_or_obj,
            region=region,
            repetitions=repetitions,
            stimulus_id=stimulus_id,
            model=model,
            by=by,
            gaps=gaps,
            modality=modality,
            variable=variable,
        )
        return _given(array.to_dataset(), drop_variables)


class ThingsvisionEngine(BackendEntrypoint):
    """Folders that thingsvision wrote, as `read_thingsvision` reads them."""

    description = "Open folders of features that thingsvision wrote"
    url = "https://github.com/xconverge/xconverge/blob/main/docs/interop.md"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        ids: Ids | None = None,
        flatten: bool = False,
        strip_folder: bool = False,
        strip_extension: bool = False,
        model: str | None = None,
        modality: str | None = None,
    ) -> xr.Dataset:
        """Open a folder, or a folder of folders; lazy where the files are."""
        from xconverge.io.formats.thingsvision import read_thingsvision

        array = read_thingsvision(
            filename_or_obj,
            ids,
            flatten=flatten,
            strip_folder=strip_folder,
            strip_extension=strip_extension,
            model=model,
            modality=modality,
        )
        return _given(_indexed(array).to_dataset(), drop_variables)


def _indexed(array: xr.DataArray) -> xr.DataArray:
    """An array without dask, which xarray adds where ``chunks=`` asks for it."""
    from xarray.core.indexing import LazilyIndexedArray

    from xconverge.io.zarr.reader import IndexedArray

    if array.chunks is None:
        return array
    made = array.copy(data=LazilyIndexedArray(IndexedArray(array.data)))
    made.encoding["preferred_chunks"] = {dim: max(sizes) for dim, sizes in array.chunksizes.items()}
    return made


def _given(found: xr.Dataset, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    """The Dataset as xarray takes it from an engine."""
    dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
    found = found.drop_vars(dropped, errors="ignore")
    chunks = {}
    for variable in found.data_vars.values():
        chunks.update(variable.encoding.get("preferred_chunks", {}))
    # chunks= is for coordinates too, and xarray refuses a dim with chunks of two sizes
    for coord in found.coords.values():
        coord.encoding["preferred_chunks"] = {d: chunks[d] for d in coord.dims if d in chunks}
    return found


def _others(groups: Mapping[str, xr.Dataset], names: list[str]) -> str:
    """Groups that hold something else."""
    from xconverge.labels.messages import listing

    held = [path.strip("/") for path, found in groups.items() if found.variables]
    others = [path for path in held if path not in ("", *names)]
    return f"; beside them {listing(others)}" if others else ""
