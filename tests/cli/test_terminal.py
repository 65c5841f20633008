"""Nothing that is printed steers the terminal, whatever the names in a store and paths hold."""

import io
import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from xconverge.cli import store as command_line
from xconverge.cli.main import main
from xconverge.cli.terminal import Escaped, escaping
from xconverge.engine import progress
from xconverge.engine.progress import Report
from xconverge.labels.messages import DamagedStoreError, SchemaError, escaped, listing, shown
from xconverge.report.tables import Table

CONTROLS = {chr(c) for c in (*range(0x20), *range(0x7F, 0xA0))}
UNSEEN = CONTROLS | set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HOSTILE = "\x1b[31mRED\x1b]0;pwn\x07\x9b2J\x7f\u202e\u2066\u2028\r"
# a store keeps no coordinate whose name holds a space, of any kind
NAME = HOSTILE.replace("\u2028\r", "")
ORDINARY = "é 漢字 👩\u200d🔬 ↑ \u00a0 \\x1b עִבְרִית"
SURROGATES = st.characters(categories=["Cs"])
X = np.random.default_rng(0).standard_normal((5, 3))
STIMULI = [f"s{i}{HOSTILE}" for i in range(4)]


def steering(text):
    """What would reach the terminal; our own lines and columns do."""
    return UNSEEN & set(text) - {"\n", "\t"}


@given(st.text(st.characters() | st.sampled_from(sorted(UNSEEN)) | SURROGATES))
def test_what_steers_is_escaped_and_all_else_stays(text):
    found = escaped(text)
    assert not UNSEEN & set(found)
    found.encode("utf-8")
    assert escaped(found) == found
    kept = escaped(text, "\n\t")
    assert {c: kept.count(c) for c in "\n\t"} == {c: text.count(c) for c in "\n\t"}
    assert not steering(kept)
    ordinary = "".join(c for c in text if c not in UNSEEN and not "\ud800" <= c <= "\udfff")
    assert escaped(ordinary) == ordinary
    assert not UNSEEN & set(shown(text) + listing([text, text]))


def test_what_becomes_of_a_character():
    assert escaped("a\x1b[1m\n\u202eb\udcff\x9b") == r"a\x1b[1m\n\u202eb\udcff\x9b"
    assert escaped(ORDINARY) == ORDINARY


@pytest.mark.parametrize("kind", [SchemaError, DamagedStoreError])
def test_errors_of_ours_are_escaped_and_keep_their_lines(kind):
    error = kind(f"{Path('/x' + HOSTILE)}:\n\tno")
    assert not steering(str(error))
    assert "\\x1b[31mRED" in str(error)
    assert str(error).endswith(":\n\tno")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "call",
    [
        lambda path: xc.open_store(path),
        lambda path: xc.open_representations(path, "v"),
        lambda path: xc.io.read_npy(path, ["a"]),
        lambda path: xc.io.read_thingsvision(path),
        lambda path: xc.io.read_csv(path, "a"),
        lambda path: xc.io.open_rdms(path, "v"),
    ],
)
def test_errors_of_the_python_api_name_a_path_and_escape_it(tmp_path, call):
    with pytest.raises(FileNotFoundError, match=r"none\\x1b\[31mRED") as caught:
        call(tmp_path / f"none{HOSTILE}")
    assert not steering(str(caught.value))


def test_errors_about_what_is_there_escape_the_path(tmp_path):
    reps = xc.stack_models({"m": np.eye(2)}, stimuli=["a", "b"], modality="v")
    npz = xc.io.write_npz(tmp_path / f"m{HOSTILE}.npz", reps)
    store = tmp_path / f"s{HOSTILE}.zarr"
    xc.write_representations(store, reps)
    for write in (xc.io.write_npz, xc.write_representations):
        with pytest.raises(FileExistsError) as caught:
            write(npz if write is xc.io.write_npz else store, reps)
        assert not steering(str(caught.value))
        assert r"\x1b[31mRED" in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with hostile names, sound in one modality and damaged in another."""
    folder = tmp_path_factory.mktemp("hostile")
    values = np.random.default_rng(0).standard_normal((4, 3))
    reps = xc.stack_models({f"m{HOSTILE}": values, "n": values}, stimuli=STIMULI)
    reps = reps.assign_coords(
        {f"fam{NAME}": ("model", list("ab")), f"cap{NAME}": ("stimulus", list("abcd"))}
    ).assign_attrs({f"note{HOSTILE}": HOSTILE})
    store = folder / f"study{HOSTILE}.zarr"
    for name in ("v", "w"):
        xc.write_representations(store, reps, modality=f"{name}{HOSTILE}")
    group = f"g{HOSTILE.replace('/', '')}"
    # a store: newer Zarr reads a text as a URL
    xr.DataTree.from_dict({f"/{group}": xr.Dataset({"x": 1.0})}).to_zarr(
        zarr.storage.LocalStore(store), mode="a", zarr_format=3, consolidated=False
    )
    array = zarr.open_array(store, path=f"w{HOSTILE}/representation", mode="r+")
    array[0, 1, 1] = np.nan
    chunk = store / f"v{HOSTILE}" / "representation/c/0/0/0"
    damaged = bytearray(chunk.read_bytes())
    damaged[5] ^= 1
    chunk.write_bytes(damaged)
    np.save(folder / f"x{HOSTILE}.npy", values)
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in ("a", "b\x1b[1m", "c", "d")), "utf-8")
    (folder / f"t{HOSTILE}.csv").write_text(f"id{HOSTILE[:-1]},f\na\x1b,1\nb,x\x1b\n", "utf-8")
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").touch()
    return folder


def text_of(printed):
    """What a process printed, of which no byte is a control but those that end lines."""
    assert not {*range(9), *range(11, 32), 127} & set(printed)
    return printed.decode("utf-8")


COMMANDS = {
    "info": (["info", "{store}"], 0, [r"m\x1b[31mRED", r"fam\x1b", r"cap\x1b", r"g\x1b", r"v\x1b"]),
    "validate": (["validate", "{store}"], 1, [r"w\x1b[31mRED", "FAULTY", "damaged, or is not"]),
    "validate --deep": (["validate", "--deep", "{store}"], 1, ["DAMAGED", r"m\x1b[31mRED"]),
    "no store": (["info", "none{hostile}"], 1, ["there is no store at", r"none\x1b"]),
    "no store to validate": (["validate", "none{hostile}"], 1, [r"none\x1b"]),
    "import": (
        ["import", "npy", "{npy}", "new{hostile}.zarr", "--ids", "ids.txt", "--modality",
         "q{hostile}"], 0, [r"new\x1b[31mRED", r"q\x1b[31mRED", r"x\x1b[31mRED"],
    ),
    "import of nothing": (
        ["import", "npy", "none{hostile}.npy", "t.zarr", "--modality", "v"], 1,
        [r"no file none\x1b"],
    ),
    "import of no column": (
        ["import", "csv", "{csv}", "t.zarr", "--ids", "id{hostile}", "--modality", "v"], 1,
        [r"no column of t\x1b[31mRED", r"which has 'id\x1b[31mRED"],
    ),
    "import of what is there": (
        ["import", "npy", "{npy}", "{store}", "--ids", "ids.txt", "--modality", "v{hostile}"], 1,
        [r"has the modality 'v\x1b"],
    ),
    "import of other stimuli": (
        ["import", "npy", "{npy}", "{store}", "--ids", "ids.txt", "--modality", "v{hostile}",
         "--append"], 1, [r"the modality 'v\x1b", r"b\x1b[1m"],
    ),
    "no kind": (["import", "k{hostile}", "a", "b"], 2, [r"invalid choice: 'k\x1b"]),
    "no option": (["info", "{store}", "--no{hostile}"], 2, [r"unrecognized arguments: --no\x1b"]),
    "demo": (["demo", "--out", "other"], 1, ["name another folder with --out"]),
    "help": (["import", "npy", "--help"], 0, ["--missing"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(folder):
    """What every command prints, one after the other in a process of its own."""
    names = {
        "store": f"study{HOSTILE}.zarr", "npy": f"x{HOSTILE}.npy", "csv": f"t{HOSTILE}.csv",
        "hostile": HOSTILE,
    }  # fmt: skip
    script = (
        "import os, sys; from xconverge.cli.main import main\n"
        "os.chdir(sys.argv[1])\n"
        "for arguments in eval(sys.stdin.read()):\n"
        "    try: code = main(arguments)\n"
        "    except SystemExit as error: code = error.code\n"
        "    for out in (sys.stdout, sys.stderr): print(f'=== {code}', file=out, flush=True)\n"
    )
    given = [[a.format(**names) for a in arguments] for arguments, _, _ in COMMANDS.values()]
    run = subprocess.run(
        [sys.executable, "-c", script, folder], input=ascii(given).encode(), capture_output=True,
        env={**os.environ, "COLUMNS": "1000", "PYTHONIOENCODING": "utf-8", "FORCE_COLOR": "1"},
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, text_of(run.stderr)
    parts = [text_of(stream).split("=== ") for stream in (run.stdout, run.stderr)]
    found = {}
    for number, name in enumerate(COMMANDS):
        code = int(parts[0][number + 1].split("\n")[0])
        # what one part begins with is the code of that before it
        texts = [part[number].partition("\n")[2] if number else part[number] for part in parts]
        found[name] = (code, "".join(texts))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_steers_the_terminal(said, name):
    _, code, expected = COMMANDS[name]
    found = said[name]
    assert found[0] == code, found
    assert not steering(found[1])
    for text in expected:
        assert text in found[1]


def test_the_command_ends_with_its_code(folder, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["xconverge", "validate", str(folder / f"study{HOSTILE}.zarr")]
    )
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("xconverge.cli", run_name="__main__")
    assert ended.value.code == 1
    assert not steering(capsys.readouterr().out)


def test_names_forge_no_lines(tmp_path, capsys):
    reps = xc.stack_models({"m\nvision: good": np.eye(2)}, stimuli=["a", "b"])
    reps = reps.assign_coords({"c\nvision:good": ("stimulus", ["x", "y"])})
    xc.write_representations(tmp_path / "s.zarr", reps, modality="v\nvision: good")
    for command in ("info", "validate"):
        assert main([command, str(tmp_path / "s.zarr")]) == 0
        assert "\nvision" not in capsys.readouterr().out


@pytest.mark.parametrize("how", ["error", "warning", "logging", "interrupt"])
def test_what_nobody_expects_is_escaped_too(how, monkeypatch, capsys):
    import logging
    import warnings

    def run(store):
        if how == "warning":
            warnings.warn(f"odd {HOSTILE}", RuntimeWarning, stacklevel=1)
        elif how == "logging":
            logging.Logger("ours").error("odd %s", HOSTILE)
        elif how == "interrupt":
            raise KeyboardInterrupt from RuntimeError(HOSTILE)
        else:
            raise RuntimeError(f"odd {HOSTILE}")
        return []

    monkeypatch.setattr(command_line, "modalities", run)
    monkeypatch.setattr(command_line, "open_store", lambda store: xr.DataTree())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest catches warnings; this is how Python shows them
        monkeypatch.setattr(
            warnings,
            "showwarning",
            lambda *told: sys.stderr.write(warnings.formatwarning(*told)),
        )
        code = main(["info", "s.zarr"])
    said = capsys.readouterr().err
    assert code == {"error": 1, "interrupt": 130}.get(how, 0)
    assert not steering(said)
    expected = {"interrupt": "interrupted", "error": r"RuntimeError: odd \x1b[31mRED"}
    assert expected.get(how, r"odd \x1b[31mRED") in said
    if how == "warning":
        # a line without the file and the code that it came from
        assert said.startswith("warning: odd ")
        assert "test_terminal.py" not in said
        assert warnings.formatwarning(RuntimeWarning("x"), RuntimeWarning, "a.py", 1)[:4] == "a.py"


def test_only_the_progress_display_returns_to_the_start_of_its_line(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    xc.set_options(progress=True)
    with escaping():
        Report(f"draws{HOSTILE}")(1, 2)
        print("\rover", file=sys.stderr)
    xc.set_options(progress=None)
    said = capsys.readouterr().err
    assert said.startswith("\rdraws\\x1b[31mRED")
    assert said.endswith("\\rover\n")
    assert not steering(said[1:])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_text_that_the_stream_cannot_hold_is_escaped(encoding):
    beneath = io.TextIOWrapper(io.BytesIO(), encoding)
    out = Escaped(beneath)
    print(ORDINARY, "\x9b\udcff", file=out, flush=True)
    out.writelines(["a\x1b", "b\n"])
    out.flush()
    text = beneath.buffer.getvalue().decode(encoding)
    assert text.endswith("\\x9b\\udcff\na\\x1bb\n")
    assert (ORDINARY in text) == (encoding == "utf-8")
    assert not out.isatty()
    assert out.encoding == encoding


def test_text_with_brackets_and_colons_is_shown_in_tables_as_it_is(capsys):
    pytest.importorskip("rich")
    from xconverge.cli.output import console, show

    name = f"/a[red]b:smile:/{HOSTILE}"
    with escaping():
        show(console(), Table(name, ["a", "b[/]"], [[name, "1"]], name))
    said = capsys.readouterr().out
    assert r"/a[red]b:smile:/\x1b[31mRED" in said
    assert not steering(said)


def test_html_shows_names_as_text():
    tag = "<script>alert(1)"
    reps = xc.stack_models({tag: X, "b": X**2}, stimuli=[tag, *"cdef"], modality=tag)
    reps = reps.assign_coords({tag: ("model", [tag, "d"])}).assign_attrs({tag: tag})
    spread = xc.dispersion(reps, "rdm")
    results = [reps, spread, xc.select_stimuli(spread, 5), xr.DataTree(reps.to_dataset(name="r"))]
    for result in results:
        html = result._repr_html_()
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html
