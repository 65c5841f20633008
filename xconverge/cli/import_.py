"""The command ``xconverge import``: files of other tools become a modality of a store."""

from __future__ import annotations

import argparse
from typing import Any

from xconverge.cli.formats import KINDS, Kind, Option
from xconverge.io.paths import local_path
from xconverge.io.results import write_rdms
from xconverge.io.store import append_models, modalities, write_representations
from xconverge.io.zarr.encoding import modality_of
from xconverge.labels.messages import SchemaError

SHAPES: dict[str, dict[str, Any]] = {
    "text": {"metavar": "TEXT"},
    "texts": {"metavar": "TEXT", "nargs": "+"},
    "numbers": {"metavar": "N", "nargs": "+", "type": int},
    "switch": {"action": "store_true", "default": None},
}


def add_import(commands: Any) -> None:
    """Add ``import`` to the commands; every kind of the table has its own options."""
    parser = commands.add_parser(
        "import",
        help="read files of other tools into a store",
        description="Read files of other tools into a store. "
        "'xconverge import KIND --help' lists the options of a kind.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", title="kinds")
    for name, kind in KINDS.items():
        _add_kind(kinds.add_parser(name, help=kind.text, description=f"Import {kind.text}."), kind)
    parser.set_defaults(run=run)


def _add_kind(parser: argparse.ArgumentParser, kind: Kind) -> None:
    parser.add_argument(
        "source", type=local_path, metavar="SOURCE", help="the file or folder to read"
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
    if kind.gives == "representations":
        exists.add_argument(
            "--append", action="store_true", help="add the models to a modality that is there"
        )
    exists.add_argument("--overwrite", action="store_true", help="replace a modality that is there")


def _add_option(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    flag = f"--{name.replace('_', '-')}"
    shape = {"choices": option.choices} if option.choices else SHAPES[option.takes]
    parser.add_argument(flag, dest=name, help=option.text, **shape)


def run(options: argparse.Namespace) -> int:
    """Read, and write what was read; the readers say what is wrong with a source."""
    kind = KINDS[options.kind]
    given = {name: getattr(options, name) for name in kind.options}
    keywords = {name: value for name, value in given.items() if value is not None}
    try:
        result = kind.load()(options.source, **keywords)
        options.modality = _modality(options, result)
        WRITE[kind.gives](options, result)
    except (SchemaError, FileNotFoundError, FileExistsError, ImportError):
        raise
    except (OSError, ValueError, MemoryError) as error:
        raise SchemaError(f"{options.source}: {error}") from error
    sizes = ", ".join(f"{size} {dim}" for dim, size in result.sizes.items())
    print(f"{options.store}: {options.modality} has {sizes} from {options.source}")
    return 0


def _modality(options: argparse.Namespace, result: Any) -> str:
    """The name in the store, as given, or as the source says."""
    if options.modality is None and "modality" not in result.attrs:
        raise SchemaError(f"{options.source} does not say its modality; name it with --modality")
    return modality_of(result, options.modality)


def _write_representations(options: argparse.Namespace, reps: Any) -> None:
    there = options.store.exists() and options.modality in modalities(options.store)
    if there and options.append:
        append_models(options.store, reps, modality=options.modality)
        return
    if there and not options.overwrite:
        raise FileExistsError(
            f"{options.store} has the modality {options.modality!r} already; --append adds models "
            "to it, --overwrite replaces it"
        )
    write_representations(
        options.store, reps, modality=options.modality, overwrite=options.overwrite
    )


def _write_rdms(options: argparse.Namespace, rdms: Any) -> None:
    write_rdms(options.store, rdms, modality=options.modality, overwrite=options.overwrite)


WRITE = {"representations": _write_representations, "rdms": _write_rdms}
