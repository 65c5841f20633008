"""The commands ``xconverge run`` and ``report``: a study of anybody's data, and its page."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xconverge import report
from xconverge.cli.output import add_json, console, say, show
from xconverge.engine.pair import pair
from xconverge.io.paths import local_path
from xconverge.io.results import RDMS, write_study
from xconverge.io.store import modalities, open_representations, open_store
from xconverge.labels.messages import SchemaError, escaped, listing
from xconverge.study.analysis import analyze

PLACES = ("stimulus", "stimulus_2")


def add_study(commands: Any) -> None:
    """Add ``run`` and ``report`` to the commands."""
    for parser in (_add_run(commands), _add_report(commands)):
        add_json(parser)


def _add_run(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run a whole study on the modalities of a store",
        description="Dispersion of the models of one modality, alignment with another, whether the "
        "first predicts the second, and RSA with a brain by dispersion.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  xconverge run study.zarr --modality vision --other language\n"
        "  xconverge run study.zarr --modality vision --other captions --on image_id \\\n"
        "      --join inner --target brain -o results.zarr",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--modality", help="the modality whose dispersion is measured")
    parser.add_argument("--other", help="the modality it is aligned with")
    parser.add_argument(
        "--target",
        help="a brain: a modality of the store, or a group of RDMs, for RSA by dispersion",
    )
    parser.add_argument(
        "--target-where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="take one region, subject … of the target, by a dim or coordinate",
    )
    _add_pairing(parser)
    parser.add_argument(
        "--where",
        metavar="COORD=VALUE",
        action="append",
        default=[],
        help="take only models of the modality with this value of a model coordinate",
    )
    parser.add_argument(
        "--groups",
        action="append",
        default=[],
        metavar="COORD",
        help="a stimulus coordinate of categories, whose stimuli are alike; may be given again",
    )
    for flag, default, text in (
        ("--neighbors", 10, "nearest neighbours of a stimulus"),
        ("--bins", 5, "bins of dispersion for alignment"),
        ("--rsa-bins", 3, "bins of dispersion for RSA"),
        ("--permutations", 1000, "permutations behind p-values of RSA and corrections"),
        ("--equal-noise", 99, "draws of models with equal noise; 0 for none"),
        ("--seed", 0, "seed of everything random"),
    ):
        parser.add_argument(
            flag, type=int, metavar="N", default=default, help=f"{text} (default: {default})"
        )
    parser.add_argument(
        "-o", "--out", type=local_path, default=Path("results.zarr"),
        help="where the study is written (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.set_defaults(run=_run)
    return parser


def _add_report(commands: Any) -> argparse.ArgumentParser:
    page: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="make one HTML page of a study",
        description="Make one self-contained HTML page of a study that 'xconverge run' or "
        "write_study wrote: findings, explorer, figures, tables, methods.",
        epilog="example: xconverge report results.zarr --images pictures.zip -o report.html",
    )
    page.add_argument("results", metavar="RESULTS")
    page.add_argument("-o", "--out", type=local_path, default=Path("report.html"),
                      help="the page (default: %(default)s)")  # fmt: skip
    page.add_argument(
        "--images", type=local_path,
        help="a folder or ZIP file of pictures that are named as their stimulus",
    )  # fmt: skip
    page.add_argument("--caption", help="the stimulus coordinate that describes a stimulus")
    page.add_argument("--title", help="what the page is called")
    page.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    page.set_defaults(run=_report)
    return page


def _add_pairing(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``pair``."""
    parser.add_argument("--on", metavar="COORD", help="pair stimuli by this coordinate")
    parser.add_argument(
        "--join",
        choices=("exact", "inner"),
        default="exact",
        help="inner: keep the stimuli that all have (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats",
        choices=("mean",),
        default="mean",
        help="several captions of one image are averaged (default: %(default)s)",
    )


def study_of(options: argparse.Namespace, progress: Callable[[str], None]) -> xr.DataTree:
    """Read the sides from the store, pair them, and run the study."""
    known = modalities(options.store)
    names = _two(known, options)
    a, b = (open_representations(options.store, name) for name in names)
    a = _chosen(a, options.where, "--where", ["model"], "no model has")
    more = []
    if options.target is not None:
        target = target_of(options.store, options.target)
        places = [dim for dim in target.dims if dim not in PLACES]
        target = _chosen(
            target, options.target_where, "--target-where", places, "the target has no"
        )
        if "stimulus_2" in target.dims:
            target = target.mean([d for d in target.dims if d not in PLACES], keep_attrs=True)
        more = [target.assign_attrs(modality=options.target)]
    # pairing cuts sets without a word, and a brain may have seen half of the stimuli
    before = [one.sizes["stimulus"] for one in (a, b, *more)]
    try:
        a, b, *more = pair(a, b, *more, on=options.on, join=options.join, repeats=options.repeats)
    except SchemaError as error:
        raise SchemaError(
            f"{error} (on the command line: --on COORD names the coordinate, --join inner keeps "
            "the stimuli that all have)"
        ) from error
    if {a.sizes["stimulus"]} != set(before):
        told = ", ".join(
            f"{n} of {name}" for n, name in zip(before, (*names, options.target), strict=False)
        )
        progress(f"{told}: the {a.sizes['stimulus']} stimuli that all have")
    return analyze(
        dict(zip(names, (a, b), strict=True)),
        modality=names[0],
        other=names[1],
        target=more[0] if more else None,
        k=options.neighbors,
        n_bins=options.bins,
        rsa_bins=options.rsa_bins,
        groups=tuple(options.groups),
        n_equal_noise=options.equal_noise,
        n_permutations=options.permutations,
        rng=options.seed,
        progress=progress,
    )


def _two(known: list[str], options: argparse.Namespace) -> tuple[str, str]:
    """The names of the modality and the other; of more than two there is no guess."""
    asked = [options.modality, options.other]
    rest = [name for name in known if name not in (*asked, options.target)]
    if asked == [None, None] and {"vision", "language"} <= set(known):
        asked = ["vision", "language"]
    elif asked.count(None) == len(rest):
        asked = [name or rest.pop(0) for name in asked]
    first, second = asked
    if first not in known or second not in known or first == second:
        raise SchemaError(
            f"a study needs two modalities, and {options.store} has {listing(known) or 'none'}; "
            f"name two of them by --modality and --other (given: {first}, {second})"
        )
    return first, second


def _chosen(
    array: xr.DataArray, conditions: list[str], flag: str, dims: Sequence[Any], lacks: str
) -> xr.DataArray:
    """The part of an array where coordinates along some of its dims have these values."""
    for condition in conditions:
        name, sign, value = condition.partition("=")
        lines = {str(key): one.dims[0] for key, one in array.coords.items() if one.ndim == 1}
        known = [key for key, dim in lines.items() if dim in dims]
        if not sign or name not in known:
            raise SchemaError(f"{flag} {condition!r} must be NAME=VALUE, of one of {known}")
        # on the command line a session is "1"
        values = np.array([str(one) for one in array[name].values], object)
        if value not in values:
            raise SchemaError(
                f"{flag}: {lacks} {name}={value!r}, but {listing(dict.fromkeys(values))}"
            )
        array = array.isel({lines[name]: np.flatnonzero(values == value)})
    return array


def target_of(store: Any, name: str) -> xr.DataArray:
    """A modality by this name, or RDMs."""
    if name in modalities(store):
        return open_representations(store, name)
    tree = open_store(store)
    for node in tree.subtree:
        if node.path in (f"/{name}", f"/{RDMS}/{name}") and "rdm" in node.data_vars:
            rdms = node.to_dataset()["rdm"]
            return rdms
    raise SchemaError(
        f"{store} has no modality and no group of RDMs {name!r}; it has "
        f"{listing(sorted(node.path.strip('/') for node in tree.subtree if node.data_vars))}"
    )


def _run(options: argparse.Namespace) -> int:
    # before minutes of work, and not after
    _check_free(options)
    where = None if options.json else console()
    progress = steps(where)
    study = study_of(options, progress)
    progress(f"writing {escaped(options.out)}")
    write_study(options.out, study, inputs=[options.store], overwrite=options.overwrite)
    told = told_of(study)
    progress("")
    if where is None:
        say(options, {"results": str(options.out), **told}, [])
        return 0
    where.print()
    print_study(where, told)
    out = escaped(options.out)
    where.print(f"The study is in {out}; make a page of it: xconverge report {out}", soft_wrap=True)
    return 0


def _check_free(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.overwrite:
        raise FileExistsError(f"{options.out} exists already; name another by -o, or --overwrite")


def told_of(study: xr.DataTree) -> dict[str, Any]:
    """What is told of a study, as JSON has it."""
    return {
        "findings": report.findings(study),
        "tables": [table._asdict() for table in report.tables(study)],
        "methods": report.methods(study),
    }


def print_study(where: Any, told: Mapping[str, Any]) -> None:
    """Print tables, then findings: what is read last stays on the screen."""
    for table in told["tables"]:
        show(where, report.Table(**table))
    where.print("Findings")
    for text in told["findings"]:
        where.print(f"• {text}")
    where.print()


def steps(where: Any) -> Callable[[str], None]:
    """Say each step as it starts, and when that is; nothing without a console."""
    began = time.perf_counter()

    def step(name: str) -> None:
        if where is None:
            return
        seconds = time.perf_counter() - began
        where.print(f"{seconds:5.0f} s  {name or 'done'}")

    return step


def _report(options: argparse.Namespace) -> int:
    _check_free(options)
    path = report.write(
        options.results,
        options.out,
        images=options.images,
        caption=options.caption,
        title=options.title,
        overwrite=options.overwrite,
    )
    size = path.stat().st_size
    say(
        options,
        {"report": str(path), "bytes": size},
        [f"{escaped(path)}: {size / 2**20:.1f} MiB, opens in any browser"],
    )
    return 0
