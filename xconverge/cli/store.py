"""The commands ``xconverge info``, ``validate`` and ``manifest``: what a store holds, and whose."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import xarray as xr

from xconverge.cli.output import add_json, say
from xconverge.io.manifest import read_manifest, stale_parts, told_by, write_manifest
from xconverge.io.results import GRAPHS, RDMS
from xconverge.io.store import modalities, open_representations, open_store
from xconverge.io.validate import examine
from xconverge.io.zarr.incomplete import incomplete_models
from xconverge.io.zarr.places import place_of
from xconverge.io.zarr.root import INCOMPLETE, existing_store, open_array
from xconverge.labels.messages import SchemaError, escaped, listing

OF_A_STUDY = {"dispersion", "alignment", "modulation"}
"""Groups that every study of ``analyze`` has."""


def add_store(commands: Any) -> None:
    """Add ``info``, ``validate`` and ``manifest`` to the commands."""
    info = commands.add_parser(
        "info",
        help="say what a store holds",
        description="Say what a store holds: modalities, models that are not complete, RDMs, "
        "neighbour graphs and studies.",
        epilog="example: xconverge info study.zarr",
    )
    info.add_argument("store", metavar="STORE")
    info.set_defaults(run=_info)
    check = commands.add_parser(
        "validate",
        help="check every value and label of a store, and of a study",
        description="Check every value and label of a store, and of a study.",
        epilog="example: xconverge validate study.zarr --deep",
    )
    check.add_argument("store", metavar="STORE")
    check.add_argument(
        "--deep", action="store_true", help="read every chunk, and list all that are damaged"
    )
    check.set_defaults(run=_validate)
    for parser in (info, check, _add_manifest(commands)):
        add_json(parser)


def _add_manifest(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "manifest",
        help="say whose a store or study is and how to cite it",
        description="Say whose a store or study is and how to cite it. With options, write that "
        "into its manifest (an RO-Crate), which keeps what is not given. Without, show it; the "
        "exit code is 1 where the store was changed since.",
        epilog="example: xconverge manifest study.zarr --title 'Emoji in ten networks' --author "
        "'A. Author' --license CC-BY-4.0",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--title", metavar="TEXT", help="what it is called")
    parser.add_argument("--description", metavar="TEXT", help="what it is")
    parser.add_argument(
        "--author", metavar="NAME", action="append", help="whose it is; may be given again"
    )
    parser.add_argument("--license", metavar="SPDX", help="an SPDX identifier, or a URL")
    parser.add_argument("--citation", metavar="TEXT", help="what to cite: a DOI, or text")
    parser.add_argument(
        "--update", action="store_true", help="list the groups as they are now, and keep the rest"
    )
    parser.set_defaults(run=_manifest)
    return parser


def _manifest(options: argparse.Namespace) -> int:
    names = ("title", "description", "license", "citation")
    given = {name: getattr(options, name) for name in names} | {"authors": options.author}
    if options.update or any(value is not None for value in given.values()):
        write_manifest(options.store, **given)
    with warnings.catch_warnings():
        # said below, where --json says it too
        warnings.simplefilter("ignore", UserWarning)
        crate = read_manifest(options.store)
    stale = stale_parts(existing_store(options.store, None), crate)
    told = told_by(crate)
    lines = [escaped(told["title"]), f"  {escaped(told['description'])}"]
    for key in ("authors", "license", "citation", "parts"):
        if told[key]:
            value = told[key] if isinstance(told[key], str) else ", ".join(told[key])
            lines.append(f"  {key}: {escaped(value)}")
    if stale:
        lines.append(
            f"OUT OF DATE: {escaped(listing(stale))} changed since; "
            "'xconverge manifest STORE --update' brings it up to date"
        )
    say(options, {"store": str(options.store), **told, "stale": stale, "crate": crate}, lines)
    return int(bool(stale))


def _info(options: argparse.Namespace) -> int:
    names = modalities(options.store)
    tree = open_store(options.store)
    held = {name: _modality(open_representations(options.store, name)) for name in names}
    incomplete = _incomplete(options.store)
    kinds: dict[str, dict[str, Any]] = {
        "rdms": {},
        "neighbor_graphs": {},
        "studies": {},
        "other": {},
    }
    studies = [node.path for node in tree.subtree if set(node.children) >= OF_A_STUDY]
    for node in tree.subtree:
        inside = any(node.path.startswith(path.rstrip("/") + "/") for path in studies)
        if node.path in studies:
            kinds["studies"][node.path] = _study(node)
        elif node.data_vars and not inside and node.path.strip("/") not in names:
            kinds[_kind(node)][node.path.strip("/")] = _sizes(node.to_dataset())
    data = {"store": str(options.store), "modalities": held, "incomplete": incomplete, **kinds}
    say(options, data, _lines(data))
    return 0


def _modality(reps: xr.DataArray) -> dict[str, Any]:
    """What a modality holds, as numbers and labels."""
    coords = {
        dim: [
            str(name)
            for name, coord in reps.coords.items()
            if coord.dims == (dim,) and name not in (dim, "n_features")
        ]
        for dim in ("model", "stimulus")
    }
    widths = reps["n_features"].values.ravel().tolist() if "n_features" in reps.coords else []
    return {
        "sizes": {str(dim): size for dim, size in reps.sizes.items()},
        "dtype": str(reps.dtype),
        "bytes": reps.nbytes,
        "models": [str(name) for name in reps["model"].values],
        "stimuli": [str(name) for name in reps["stimulus"].values[:3]],
        "coords": coords,
        "n_features": widths,
    }


def _incomplete(store: str) -> dict[str, dict[str, int]]:
    """Models that are being extracted, or were left half done: their pending stimuli."""
    root = place_of(store).as_reader()
    found: dict[str, dict[str, int]] = {}
    for name in (root / INCOMPLETE).names():
        if name != "zarr.json":
            models = incomplete_models(root, name, damaged=True)
            found[name] = {one.model: int((~one.written()[0]).sum()) for one in models}
    return {name: models for name, models in found.items() if models}


def _kind(node: xr.DataTree) -> str:
    top = node.path.strip("/").partition("/")[0]
    if top == GRAPHS or "neighbor_graph" in node.data_vars:
        return "neighbor_graphs"
    return "rdms" if top == RDMS or "rdm" in node.data_vars else "other"


def _sizes(data: xr.Dataset) -> dict[str, int]:
    return {str(dim): size for dim, size in data.sizes.items()}


def _study(node: xr.DataTree) -> dict[str, Any]:
    """What a study is of, and what it found."""
    sizes = node["alignment"].to_dataset().sizes
    told = {key: node.attrs.get(key) for key in ("modality", "other", "seed", "conclusion")}
    return {
        **told,
        "models": [sizes.get("model_a"), sizes.get("model_b")],
        "stimuli": sizes.get("stimulus"),
        "groups": sorted(node.children),
    }


def _lines(data: dict[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"{escaped(data['store'])}: {len(data['modalities'])} modalities"]
    for name, one in data["modalities"].items():
        lines += ["", *_modality_lines(name, one)]
    for name, models in data["incomplete"].items():
        told = ", ".join(f"{escaped(model)} ({n} stimuli pending)" for model, n in models.items())
        lines += ["", f"Not complete, of {escaped(name)}: {told}"]
    for path, one in data["studies"].items():
        who = f"{one['models'][0]} {one['modality']} and {one['models'][1]} {one['other']} models"
        where = "This is a study" if path == "/" else f"Study {path}"
        lines += ["", escaped(f"{where} of {who}, {one['stimuli']} stimuli, seed {one['seed']}")]
        if one["conclusion"]:
            lines.append(escaped(f"  {one['conclusion']}"))
        lines.append(f"  groups: {', '.join(map(escaped, one['groups']))}")
    for key, title in (
        ("rdms", "RDMs"), ("neighbor_graphs", "Neighbour graphs"), ("other", "Other groups"),
    ):  # fmt: skip
        if data[key]:
            lines += ["", f"{title}:"]
            lines += [f"  {escaped(path)}: {_dims(sizes)}" for path, sizes in data[key].items()]
    return lines


def _dims(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size} {escaped(dim)}" for dim, size in sizes.items())


def _modality_lines(name: str, one: dict[str, Any]) -> list[str]:
    unpacked = f"{one['bytes'] / 2**20:.1f} MiB unpacked"
    lines = [f"{escaped(name)}: {_dims(one['sizes'])}; {one['dtype']}, {unpacked}"]
    total = one["sizes"]["stimulus"]
    shown = f"{listing(one['stimuli'])}{f', … ({total} in all)' if total > 3 else ''}"
    for dim, labels in (("model", listing(one["models"])), ("stimulus", shown)):
        lines.append(f"  {dim}: {labels}")
        if one["coords"][dim]:
            lines.append(f"    with {', '.join(map(escaped, one['coords'][dim]))}")
    if one["n_features"]:
        lines.append(f"  features of each model: {listing(one['n_features'])}")
    return lines


def _validate(options: argparse.Namespace) -> int:
    damaged, by_modality = examine(options.store, options.deep)
    studies = _study_faults(options.store) if not damaged else {}
    if not by_modality and not studies and not options.deep:
        raise SchemaError(
            f"{options.store} holds no representations and no study; --deep checks every file of it"
        )
    lines = [f"DAMAGED: {escaped(fault)}" for fault in damaged]
    if options.deep and not damaged:
        lines.append("no file is damaged")
    for name, faults in by_modality.items():
        if faults:
            lines += [f"{escaped(name)}: FAULTY", *(f"  {escaped(fault)}" for fault in faults)]
        else:
            sizes = open_array(place_of(options.store), name).sizes
            what = f"{sizes['model']} models, {sizes['stimulus']} stimuli"
            lines.append(f"{escaped(name)}: good, {what}")
    for path, faults in studies.items():
        name = f"study {path}"
        lines += (
            [f"{escaped(name)}: FAULTY", *(f"  {escaped(fault)}" for fault in faults)]
            if faults
            else [f"{escaped(name)}: good"]
        )
    bad = bool(damaged) or any(by_modality.values()) or any(studies.values())
    data = {
        "store": str(options.store), "good": not bad, "damaged": damaged,
        "modalities": by_modality, "studies": studies,
    }  # fmt: skip
    say(options, data, lines)
    return int(bad)


def _study_faults(store: str) -> dict[str, list[str]]:
    """What is wrong with each study: groups that do not belong together."""
    found = {}
    for node in open_store(store).subtree:
        if set(node.children) >= OF_A_STUDY:
            found[node.path] = list(_faults_of(node))
    return found


def _faults_of(study: xr.DataTree) -> list[str]:
    """Every group is of the same stimuli and models, and says what it was computed with."""
    faults = []
    seen: dict[str, tuple[str, set[str]]] = {}
    for name, node in study.children.items():
        data = node.to_dataset()
        for dim in ("stimulus", "model_a", "model_b"):
            if dim not in data.indexes:
                continue
            labels = set(map(str, data.indexes[dim]))
            first, known = seen.setdefault(dim, (name, labels))
            if labels != known and name != "rsa":  # whose target may have seen fewer
                lost = sorted(labels ^ known)
                faults.append(f"{first} and {name} are of other {dim} labels: {listing(lost)}")
    faults += [f"attrs lack {key!r}" for key in ("seed", "k") if key not in study.attrs]
    return faults
