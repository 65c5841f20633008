"""The command ``xconverge import``: files of other tools become a modality of a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import xarray as xr

from xconverge.cli.formats import KINDS, Kind, Option
from xconverge.cli.output import add_json, say
from xconverge.cli.sources import Sets, in_modality, naming, read_all, together
from xconverge.io.paths import local_path
from xconverge.io.results import write_rdms
from xconverge.io.store import (
    append_models,
    modalities,
    open_representations,
    write_representations,
)
from xconverge.io.zarr.encoding import modality_of
from xconverge.labels.messages import SchemaError, escaped

SHAPES: dict[str, dict[str, Any]] = {
    "text": {"metavar": "TEXT"},
    "texts": {"metavar": "TEXT", "nargs": "+"},
    "numbers": {"metavar": "N", "nargs": "+", "type": int},
    "each": {"metavar": "TEXT", "action": "append"},
    "seconds": {"metavar": "SECONDS", "type": float},
    "window": {"metavar": ("START", "STOP"), "nargs": 2, "type": float},
    "switch": {"action": "store_true", "default": None},
}


def add_import(commands: Any) -> None:
    """Add ``import`` to the commands; every kind of the table has its own options."""
    parser = commands.add_parser(
        "import",
        help="read files of other tools into a store",
        description="Read files of other tools into a store. "
        "'xconverge import KIND --help' lists the options of a kind.",
        epilog="example: xconverge import npy vit.npy study.zarr --modality vision --model vit "
        "--ids ids.csv:image",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", title="kinds")
    for name, kind in KINDS.items():
        _add_kind(kinds.add_parser(name, help=kind.text, description=f"Import {kind.text}."), kind)
    parser.set_defaults(run=run)


def _add_kind(parser: argparse.ArgumentParser, kind: Kind) -> None:
    several = kind.gives == "representations"
    parser.add_argument(
        "sources",
        type=local_path,
        nargs="+" if several else 1,
        metavar="SOURCE",
        help=f"the file or folder to read{', or several of them' if several else ''}",
    )
    parser.add_argument(
        "store", type=local_path, metavar="STORE", help="the store; made if missing"
    )
    parser.add_argument(
        "--modality", metavar="NAME", help="its name in the store; default what the source says"
    )
    for name, option in kind.options.items():
        _add_option(parser, name, option)
    exists = parser.add_mutually_exclusive_group()
    if several:
        parser.add_argument(
            "--missing",
            action="store_true",
            help="with --append: a source may lack stimuli of the modality, which are NaN then",
        )
        exists.add_argument(
            "--append", action="store_true", help="add the models to a modality that is there"
        )
    exists.add_argument("--overwrite", action="store_true", help="replace a modality that is there")
    add_json(parser)


def _add_option(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    flag = f"--{name.replace('_', '-')}"
    shape = {"choices": option.choices} if option.choices else SHAPES[option.takes]
    parser.add_argument(flag, dest=name, help=option.text, **shape)


def run(options: argparse.Namespace) -> int:
    """Read, and write what was read; the readers say what is wrong with a source."""
    kind = KINDS[options.kind]
    given = {name: getattr(options, name) for name in kind.options if name != "model"}
    keywords = {name: value for name, value in given.items() if value is not None}
    models = [options.model] if isinstance(options.model, str) else options.model
    if kind.gives == "representations" and options.missing and not options.append:
        raise SchemaError("--missing goes with --append: it is about stimuli that are there")
    sets = read_all(kind.load(), options.sources, models, keywords)
    modality = _modality(options, sets)
    with naming(_named(options.sources)):
        result, lines = WRITE[kind.gives](options, modality, sets)
    sizes = ", ".join(f"{size} {dim}" for dim, size in result.sizes.items())
    lines.append(f"{options.store}: {modality} has {sizes} from {_named(options.sources)}")
    data = {
        "store": str(options.store), "modality": modality,
        "sizes": {str(dim): size for dim, size in result.sizes.items()}, "said": lines,
    }  # fmt: skip
    say(options, data, map(escaped, lines))
    return 0


def _named(sources: list[Path]) -> str:
    return ", ".join(map(str, sources))


def _modality(options: argparse.Namespace, sets: Sets) -> str:
    """The name in the store, as given, or as all sources say."""
    found = {}
    for source, result in sets.items():
        if options.modality is None and "modality" not in result.attrs:
            raise SchemaError(f"{source} does not say its modality; name it with --modality")
        found[modality_of(result, options.modality)] = source
    if len(found) > 1:
        told = "; ".join(f"{source} is of {name!r}" for name, source in found.items())
        raise SchemaError(f"{told}: name one with --modality, or import them one by one")
    return next(iter(found))


def _write_representations(
    options: argparse.Namespace, modality: str, sets: Sets
) -> tuple[xr.DataArray, list[str]]:
    """Write the models of all sources at once, and say what they lack."""
    there = options.store.exists() and modality in modalities(options.store)
    lines: list[str] = []
    if there and options.append:
        old = open_representations(options.store, modality)
        sets, lines = in_modality(sets, old, modality, options.missing)
        reps = together(sets, modality)
        append_models(options.store, reps, modality=modality)
        return reps, lines
    if there and not options.overwrite:
        raise FileExistsError(
            f"{escaped(options.store)} has the modality {modality!r} already; --append adds models "
            "to it, --overwrite replaces it"
        )
    reps = together(sets, modality)
    write_representations(options.store, reps, modality=modality, overwrite=options.overwrite)
    return reps, lines


def _write_rdms(
    options: argparse.Namespace, modality: str, sets: Sets
) -> tuple[xr.DataArray, list[str]]:
    (rdms,) = sets.values()
    write_rdms(options.store, rdms, modality=modality, overwrite=options.overwrite)
    return rdms, []


WRITE = {"representations": _write_representations, "rdms": _write_rdms}
