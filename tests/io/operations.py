"""All that changes a store, and what readers may see of it before, in between and after."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

import xconverge as xc
from tests.io.sets import digest
from xconverge.io.zarr.incomplete import folder_name

STIMULI = [f"s{i}" for i in range(6)]
WIDTHS = {"a": 5, "b": 5, "c": 3, "d": 8, "e": 5, "f": 2, "g": 4}
VALUES = {
    name: np.random.default_rng(ord(name)).standard_normal((6, width)).astype(np.float32)
    for name, width in WIDTHS.items()
}
FIRST = (0, 1, 2, 3)
"""Rows of the model g that somebody has written."""
DEBRIS = re.compile(r"(^|/)(\.staging-|\.replaced-|\.locked)|\.partial$")


# What there is


def models(names: str) -> xr.DataArray:
    """Models of the modality ``v``, by their letters."""
    return xc.stack_models({n: VALUES[n] for n in names}, stimuli=STIMULI, modality="v")


@cache
def graph(k: int) -> xr.DataArray:
    return xc.neighbor_graph(models("ab"), k).compute(scheduler="synchronous")


@cache
def rdms(scale: float) -> xr.DataArray:
    found = xc.rdm(models("ab"), "euclidean").compute(scheduler="synchronous")
    return (found * scale).assign_attrs(modality="v")


def study(value: float) -> xr.DataTree:
    """Results in two groups, which say of which writing they are."""
    return xr.DataTree.from_dict(
        {"/x": xr.Dataset({"q": ("p", np.full(5, value))}), "/y": xr.Dataset({"r": value})}
    )


def prepare(folder: Path) -> None:
    """A store with something of each kind, a study, and files of somebody else."""
    store = folder / "s.zarr"
    xc.write_representations(store, models("ab"))
    xc.io.write_neighbors(store, graph(2))
    xc.io.write_rdms(store, rdms(1.0))
    xc.write_study(folder / "r.zarr", study(1.0))
    for model, rows in {"c": range(6), "d": range(6), "g": FIRST}.items():
        with suppress(InterruptedError):
            extract(store, "v", model, [list(rows)], finish=False)
    (folder / "other" / "deep").mkdir(parents=True)
    (folder / "other" / "deep" / "file").write_text("precious")


def extract(
    store: Path,
    modality: str,
    model: str,
    batches: list[list[int]],
    told: Callable[[list[int]], object] = len,
    finish: bool = True,
    **options: Any,
) -> None:
    """Write what is pending of some batches, telling when ``write`` has returned."""
    with xc.ModelWriter(store, modality, model, STIMULI, WIDTHS[model], **options) as writer:
        for batch in batches:
            rows = [i for i in batch if STIMULI[i] in writer.pending]
            if rows:
                writer.write([STIMULI[i] for i in rows], VALUES[model][rows])
                told(rows)
        if not finish:
            raise InterruptedError


# What is done

Told = Callable[[list[int]], object]


def first_model(folder: Path, told: Told) -> None:
    extract(folder / "s.zarr", "u", "c", [[4, 5, 3], [0, 2, 1]], told)


def join(model: str, folder: Path, told: Told) -> None:
    extract(folder / "s.zarr", "v", model, [])


def append(names: str, folder: Path, told: Told) -> None:
    try:
        xc.append_models(folder / "s.zarr", models(names))
    except xc.SchemaError as error:
        if "names already" not in str(error):
            raise


def overwrite(folder: Path, told: Told) -> None:
    xc.write_representations(folder / "s.zarr", models("fe"), overwrite=True)


def overwrite_study(folder: Path, told: Told) -> None:
    xc.write_study(folder / "r.zarr", study(2.0), overwrite=True)


def overwrite_graph(folder: Path, told: Told) -> None:
    xc.io.write_neighbors(folder / "s.zarr", graph(3), overwrite=True)


def overwrite_rdms(folder: Path, told: Told) -> None:
    xc.io.write_rdms(folder / "s.zarr", rdms(2.0), overwrite=True)


def overwrite_store(folder: Path, told: Told) -> None:
    xc.create_store(folder / "s.zarr", overwrite=True)


def restart(folder: Path, told: Told) -> None:
    with suppress(InterruptedError):
        extract(folder / "s.zarr", "v", "g", [[4, 5, 3]], told, finish=False, restart=True)


def new_store(folder: Path, told: Told) -> None:
    xc.write_representations(folder / "new.zarr", models("ab"), overwrite=True)


# What readers see


def check_values(reps: xr.DataArray, allowed: Iterable[str]) -> None:
    """Representations are one of some sets of models, value by value."""
    names = "".join(map(str, reps["model"].values))
    assert names in allowed, f"models {names!r}, not one of {list(allowed)}"
    assert [str(s) for s in reps["stimulus"].values] == STIMULI
    for name, values in zip(names, reps.values, strict=True):
        width = WIDTHS[name]
        assert values[:, :width].tobytes() == VALUES[name].tobytes(), f"values of {name}"
        assert np.isnan(values[:, width:]).all(), f"padding of {name}"
    if "n_features" in reps.coords:
        assert reps["n_features"].values.tolist() == [WIDTHS[name] for name in names]


def check_modality(store: Path, name: str, allowed: Iterable[str], plain: bool = True) -> None:
    """All readers see one of some states of a modality, those that know nothing of us too."""
    check_values(xc.open_representations(store, name), allowed)
    check_values(xc.open_store(store)[f"{name}/representation"], allowed)
    if not plain:
        return
    check_values(xr.open_zarr(f"{store}/{name}")["representation"], allowed)
    check_values(plain_tree(store)[f"{name}/representation"], allowed)
    check_values(by_zarr(zarr.open_group(f"{store}/{name}", mode="r")), allowed)


def plain_tree(path: Path) -> xr.DataTree:
    """A store as xarray opens it, which warns that there is no one document of all groups."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated")
        # what was killed may lie there
        warnings.filterwarnings("ignore", "Object at")
        return xr.open_datatree(str(path), engine="zarr")


def by_zarr(group: Any) -> xr.DataArray:
    """Representations as plain Zarr reads them."""
    labels = {dim: group[dim][...].astype(object) for dim in ("model", "stimulus")}
    return xr.DataArray(group["representation"][...], labels, ("model", "stimulus", "feature"))


def check_rows(store: Path, modality: str, model: str, written: Iterable[int]) -> None:
    """Rows that were told to be written are there, and no row is what it is not."""
    rows = list(written)
    if not rows:
        return
    reps = xc.open_representations(store, modality, incomplete="include").sel(model=model)
    values = reps.values[:, : WIDTHS[model]]
    there = np.isfinite(values).all(1)
    assert there[rows].all(), f"rows of {model}: {np.flatnonzero(there)}, told {rows}"
    np.testing.assert_array_equal(values[there], VALUES[model][there])
    assert np.isnan(values[~there]).all()


@dataclass
class Seen:
    """What may be seen of a folder that an operation was at."""

    folder: Path
    done: bool
    """The operation has come to its end."""
    written: list[int]
    """Rows from which ``write`` has returned."""
    plain: bool = True
    """Other programs find it too: folders were exchanged in one step."""

    @property
    def store(self) -> Path:
        return self.folder / "s.zarr"

    def either(self, old: Any, new: Any) -> set[Any]:
        return {new} if self.done else {old, new}


def see_first_model(seen: Seen) -> None:
    if seen.done or "u" in xc.io.modalities(seen.store):
        check_modality(seen.store, "u", {"c"}, seen.plain)
    check_rows(seen.store, "u", "c", seen.written)


def see_models(new: str, seen: Seen) -> None:
    check_modality(seen.store, "v", seen.either("ab", new), seen.plain)


def see_joined(new: str, seen: Seen) -> None:
    see_models(new, seen)
    check_rows(seen.store, "v", new[-1], range(6))


def see_study(seen: Seen) -> None:
    """A study is the one or the other, and no mixture."""
    for read in (xc.open_store, *([plain_tree] if seen.plain else [])):
        tree = read(seen.folder / "r.zarr")
        values = {*tree["x/q"].values.tolist(), float(tree["y/r"])}
        assert len(values) == 1
        assert values <= seen.either(1.0, 2.0)


def see_graph(seen: Seen) -> None:
    found = [xc.io.open_neighbors(seen.store, "v").compute()]
    if seen.plain:
        plain = xr.open_zarr(f"{seen.store}/neighbor_graphs/v")
        found.append(next(iter(plain.data_vars.values())))
    for one in found:
        assert one.sizes["neighbor"] in seen.either(2, 3)
        xr.testing.assert_equal(one, graph(one.sizes["neighbor"]))


def see_rdms(seen: Seen) -> None:
    found = [xc.io.open_rdms(seen.store, "v").compute()]
    if seen.plain:
        found.append(xr.open_zarr(f"{seen.store}/rdms/v")["rdm"])
    for one in found:
        assert any(one.equals(rdms(scale)) for scale in seen.either(1.0, 2.0))


def see_store(seen: Seen) -> None:
    """It is empty, or as it was."""
    if not seen.done and xc.io.modalities(seen.store):
        check_modality(seen.store, "v", {"ab"}, seen.plain)
        check_rows(seen.store, "v", "g", FIRST)
        for see in (see_graph, see_rdms):
            see(Seen(seen.folder, False, [], seen.plain))
        return
    assert not xc.open_store(seen.store).children


def see_restart(seen: Seen) -> None:
    check_rows(seen.store, "v", "g", seen.written)


def see_new_store(seen: Seen) -> None:
    if seen.done or (seen.folder / "new.zarr" / "v").exists():
        check_modality(seen.folder / "new.zarr", "v", {"ab"}, seen.plain)


@dataclass
class Operation:
    """Something that changes a store."""

    do: Callable[[Path, Told], None]
    see: Callable[[Seen], None]
    concerns: tuple[str, ...]
    """Paths that it may change: all others are, byte by byte, what they were."""


def _incomplete(model: str) -> str:
    return f"s.zarr/incomplete_models/v/{folder_name(model)}"


OPERATIONS = {
    "first model": Operation(
        first_model, see_first_model, ("s.zarr/u", "s.zarr/incomplete_models/u")
    ),
    "join narrower": Operation(
        partial(join, "c"), partial(see_joined, "abc"), ("s.zarr/v", _incomplete("c"))
    ),
    "join wider": Operation(
        partial(join, "d"), partial(see_joined, "abd"), ("s.zarr/v", _incomplete("d"))
    ),
    "append narrower": Operation(partial(append, "f"), partial(see_models, "abf"), ("s.zarr/v",)),
    "append wider": Operation(partial(append, "dc"), partial(see_models, "abdc"), ("s.zarr/v",)),
    "overwrite": Operation(overwrite, partial(see_models, "fe"), ("s.zarr/v",)),
    "overwrite study": Operation(overwrite_study, see_study, ("r.zarr",)),
    "overwrite graph": Operation(overwrite_graph, see_graph, ("s.zarr/neighbor_graphs/v",)),
    "overwrite rdms": Operation(overwrite_rdms, see_rdms, ("s.zarr/rdms/v",)),
    "overwrite store": Operation(overwrite_store, see_store, ("s.zarr",)),
    "restart": Operation(restart, see_restart, (_incomplete("g"),)),
    "new store": Operation(new_store, see_new_store, ("new.zarr",)),
}


def rest(folder: Path, operation: Operation) -> dict[str, str]:
    """All files that an operation is not about, but those that it builds aside."""
    return {
        name: crc
        for name, crc in digest(folder).items()
        if not name.startswith(tuple(f"{path}/" for path in operation.concerns))
        and not DEBRIS.search(name)
    }


def check_state(operation: Operation, seen: Seen, before: dict[str, str]) -> None:
    """Old or new is there, to all readers, and nothing else was touched."""
    operation.see(seen)
    assert rest(seen.folder, operation) == before


def check_end(operation: Operation, seen: Seen, before: dict[str, str]) -> None:
    """The new state is there, whole, and nothing beside it."""
    check_state(operation, seen, before)
    for path in {concerned.split("/")[0] for concerned in operation.concerns}:
        xc.validate_store(seen.folder / path, deep=True)
    paths = [str(path.relative_to(seen.folder)) for path in seen.folder.rglob("*")]
    left = [path for path in paths if DEBRIS.search(path)]
    assert not left, f"left behind: {left}"
    assert set(os.listdir(seen.folder)) <= {"s.zarr", "r.zarr", "new.zarr", "other"}
