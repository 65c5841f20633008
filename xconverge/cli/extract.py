"""The command ``xconverge extract``: stimuli go through a network, its layers into a store."""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from xconverge.cli.output import add_json, say
from xconverge.extraction.network import PRETRAINED, Network, load_network
from xconverge.extraction.run import PRECISIONS, extract
from xconverge.extraction.stimuli import stimuli_of
from xconverge.kernels.pooling import POOLS
from xconverge.labels.messages import SchemaError, escaped, listing


def add_extract(commands: Any) -> None:
    """Add ``extract`` to the commands."""
    parser = commands.add_parser(
        "extract",
        help="run images or texts through a network into a store",
        description="Run images or texts through a network, and write each of its layers as one "
        "model into a store. The same command again goes on where an earlier one ended.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  xconverge extract --network timm:vit_tiny_patch16_224 --list-layers\n"
        "  xconverge extract photos study.zarr --modality vision \\\n"
        "      --network timm:vit_tiny_patch16_224 --layers 'blocks.*' --pool cls\n"
        "  xconverge extract captions.csv:caption study.zarr --modality language --ids id \\\n"
        "      --network transformers:bert-base-uncased --layers 'encoder.layer.*'",
    )
    parser.add_argument(
        "stimuli",
        metavar="STIMULI",
        nargs="?",
        help="a folder, a ZIP file or a URL of images; TABLE.csv:COLUMN of texts, or of paths of "
        "images; a .txt file, one text a line",
    )
    parser.add_argument(
        "store", metavar="STORE", nargs="?", help="a path or a URL; made if missing"
    )
    parser.add_argument("--modality", metavar="NAME", help="its name in the store")
    parser.add_argument(
        "--ids",
        metavar="COLUMN",
        help="the column of a table that names its rows (default: stimulus, stimulus_id or id); of "
        "a .txt file another with one id a line",
    )
    _add_network(parser)
    _add_run(parser)
    add_json(parser)
    parser.set_defaults(run=_run, understood=parser.error)


def _add_network(parser: argparse.ArgumentParser) -> None:
    """Add what `load_network` takes."""
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--network",
        required=True,
        help="timm:NAME, torchvision:NAME, open_clip:NAME, transformers:NAME, "
        "sentence-transformers:NAME, where NAME may be an id on the hub or a folder; "
        "MODULE:FUNCTION that returns a torch module; or FILE.onnx",
    )
    network.add_argument(
        "--weights",
        default=PRETRAINED,
        help="pretrained, random, or a tag, a revision or a file (default: %(default)s)",
    )
    network.add_argument("--name", help="what it is called in the store (default: its own)")
    network.add_argument(
        "--coord",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a further coordinate of its models, such as family=vit; may be given again",
    )
    network.add_argument(
        "--download", action="store_true", help="fetch weights that are not on this machine"
    )
    given = network.add_mutually_exclusive_group()
    given.add_argument(
        "--preprocess",
        metavar="MODULE:NAME",
        help="a function of an image, or of texts, instead of the library's own",
    )
    given.add_argument(
        "--size", type=int, metavar="N", help="instead: the middle square, N pixels a side"
    )
    for flag, text in (("--mean", "with --size: mean"), ("--std", "with --size: deviation")):
        network.add_argument(
            flag, type=float, nargs=3, metavar="X", help=f"{text} of R, G and B (default: 0.5)"
        )


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Add what `extract` takes."""
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--layers",
        nargs="+",
        metavar="NAME",
        help="names, or patterns in which * stands for a part of a name and ** for several "
        "(default: output, what the network as a whole gives)",
    )
    run.add_argument("--list-layers", action="store_true", help="print all names, and run nothing")
    run.add_argument("--pool", choices=POOLS, default="mean", help="default: %(default)s")
    run.add_argument("--batch-size", type=int, metavar="N", default=64, help="default: %(default)s")
    run.add_argument("--device", help="cpu, cuda:1 … (default: a GPU, where there is one)")
    run.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="default: %(default)s"
    )
    run.add_argument(
        "--restart", action="store_true", help="drop what an earlier start has left unfinished"
    )


def _run(options: argparse.Namespace) -> int:
    network = _network(options)
    if options.list_layers:
        say(options, {"network": network.name, "layers": network.layers}, network.layers)
        return 0
    lacking = [name for name in ("stimuli", "store", "modality") if not getattr(options, name)]
    if lacking:
        # argparse could not know: --list-layers needs none of them
        options.understood(f"needed are also {', '.join(lacking)}")
    stimuli = stimuli_of(options.stimuli, options.ids)
    reps = extract(
        stimuli,
        network,
        options.store,
        modality=options.modality,
        layers=options.layers,
        pool=options.pool,
        batch_size=options.batch_size,
        device=options.device,
        precision=options.precision,
        restart=options.restart,
    )
    models = [str(name) for name in reps["model"].values]
    data = {
        "store": options.store, "modality": options.modality, "models": models,
        "n_features": reps["n_features"].values.tolist(),
        "stimuli": reps.sizes["stimulus"], "provenance": reps.attrs["provenance"][network.name],
    }  # fmt: skip
    say(
        options,
        data,
        [
            f"{escaped(options.store)}: {escaped(options.modality)} has {listing(models)} of "
            f"{reps.sizes['stimulus']} stimuli",
            f"features of each: {listing(data['n_features'])}",
        ],
    )
    return 0


def _network(options: argparse.Namespace) -> Network:
    """The network that is asked for; functions of one's own lie in the working folder."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return load_network(
        options.network,
        weights=options.weights,
        preprocess=_preprocess(options),
        name=options.name,
        coords=dict(map(_coordinate, options.coord)),
        download=options.download,
    )


def _preprocess(options: argparse.Namespace) -> Callable[[Any], Any] | dict[str, Any] | None:
    given = {"size": options.size, "mean": options.mean, "std": options.std}
    given = {name: value for name, value in given.items() if value is not None}
    if options.preprocess is None:
        if given and options.size is None:
            raise SchemaError("--mean and --std go with --size")
        return given or None
    try:
        found: Callable[[Any], Any] = pkgutil.resolve_name(options.preprocess)
    except (ImportError, AttributeError, ValueError) as error:
        raise SchemaError(
            f"--preprocess {options.preprocess} cannot be imported: {error}"
        ) from error
    return found


def _coordinate(given: str) -> tuple[str, str]:
    name, sign, value = given.partition("=")
    if not (name and sign and value):
        raise SchemaError(f"--coord {given} must be NAME=VALUE")
    return name, value
