"""Damaged files for every reader.

``python -P tests/io/formats/fuzzing.py --count 20000 csv parquet`` tries two of them for long.

Each good file of the table `GOOD` is damaged in many ways and read, in a process of its own, with
little memory and a time limit. What a reader may do is return a representation set, or raise one of
`DOCUMENTED`; all else is a finding: another error, a warning, a crash, a hang, too much memory.
A new reader is one function in `GOOD`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dask
import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xconverge as xc
from xconverge.cli.formats import KINDS
from xconverge.labels.checks import check_text

DOCUMENTED = (xc.SchemaError, FileNotFoundError, ImportError)
MEMORY = 2**29
"""Bytes that reading a small file may take beyond what the imports have taken."""
SECONDS = 20
C_LIBRARIES = {
    "thingsvision hdf5", "thingsvision chunked hdf5", "thingsvision mat", "thingsvision packed mat",
    "thingsvision mat of images", "thingsvision mat 7.3", "brainio", "allen", "netcdf of ours",
    "rsatoolbox", "rsatoolbox-rdms",
}  # fmt: skip
"""Sources of which a forged file may crash or hang a library of others, as docs/interop.md says."""
READ = "nothing, it was read"
IDS = ["cät", "dog", "007", "NA"]
X = np.arange(20.0).reshape(4, 5)[:, :3] / 7


class Good(NamedTuple):
    """A good source: what to read, the file in it to damage, and the keywords of the reader."""

    source: Path
    damaged: Path
    keywords: dict[str, Any]


def _npy(folder: Path) -> Good:
    np.save(folder / "m.npy", X)
    return Good(folder / "m.npy", folder / "m.npy", {"ids": IDS})


def _npz(folder: Path) -> Good:
    np.savez_compressed(folder / "m.npz", a=X, b=X.astype("f4"), stimulus=np.array(IDS))
    return Good(folder / "m.npz", folder / "m.npz", {})


def _our_npz(folder: Path) -> Good:
    reps = xc.stack_models({"a": X, "b": X[:, :2]}, stimuli=IDS).assign_attrs(note={"ü": [1]})
    xc.io.write_npz(folder / "m.npz", reps)
    return Good(folder / "m.npz", folder / "m.npz", {})


def _csv(folder: Path) -> Good:
    pd.DataFrame(X, columns=["a", "ü", "c"]).assign(id=IDS).to_csv(folder / "m.csv", index=False)
    return Good(folder / "m.csv", folder / "m.csv", {"ids": "id"})


def _table_of_trials(folder: Path) -> Good:
    table = pd.DataFrame(X, columns=["a", "ü", "c"])
    table = table.assign(stimulus_id=["cät", "007", "cät", "007"], run=[1, 1, 2, 2])
    table.to_csv(folder / "m.csv", index=False)
    return Good(folder / "m.csv", folder / "m.csv", {"features": ["a", "ü", "c"]})


def _design(folder: Path) -> Good:
    table = pd.DataFrame({"stimulus_id": ["cät", "007", "cät", "NA"], "onset": [0.5, 1, 2, 3]})
    table.to_csv(folder / "events.tsv", sep="\t", index=False)
    good = _npy(folder)
    return Good(good.source, folder / "events.tsv", {"design": folder / "events.tsv"})


def _parquet(folder: Path) -> Good:
    table = pd.DataFrame(X, columns=["a", "ü", "c"]).assign(b=[1, 2, 3, 4], id=IDS)
    table.to_parquet(folder / "m.parquet")
    return Good(folder / "m.parquet", folder / "m.parquet", {"ids": "id"})


def _ids(folder: Path) -> Good:
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in IDS), "utf-8")
    good = _npy(folder)
    return Good(good.source, folder / "ids.txt", {"ids": folder / "ids.txt"})


def _things(name: str, write: Callable[[Path], Any]) -> Callable[[Path], Good]:
    def make(folder: Path) -> Good:
        names = ["a/cat.jpg", "a/dog.jpg", "b/x.png", "b/ü.png"]
        if name.endswith(".mat"):
            names[-1] = "b/u.png"
        (folder / "file_names.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")
        write(folder / name)
        return Good(folder, folder / name, {"flatten": True})

    return make


def _save_hdf5(**keywords: Any) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=X, **keywords)

    return save


def _save_mat(**keywords: Any) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        from scipy.io import savemat

        savemat(path, {"features": X}, **keywords)

    return save


def _save_mat_names(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, dict(zip(["a/cat", "a/dog", "b/x", "b/u"], X, strict=True)))


def _save_pt(path: Path) -> None:
    import torch

    torch.save(torch.from_numpy(X), path)


def _platonic(**keywords: Any) -> Callable[[Path], Good]:
    def make(folder: Path) -> Good:
        import torch

        content = {
            "feats": torch.arange(24.0).reshape(4, 2, 3), "num_params": 7, "loss": torch.ones(()),
            "mask": torch.ones(4, 5, dtype=torch.int64),
        }  # fmt: skip
        torch.save(content, folder / "m.pt", **keywords)
        return Good(folder / "m.pt", folder / "m.pt", {"ids": IDS})

    return make


def _trials() -> xr.DataArray:
    """Two presentations of each stimulus."""
    return xr.DataArray(
        np.arange(24.0).reshape(8, 3) / 7,
        dims=("presentation", "neuroid"),
        coords={
            "stimulus_id": ("presentation", IDS * 2),
            "trial": ("presentation", np.arange(8)),
            "region": ("neuroid", ["IT", "V4", "IT"]),
            "depth": ("neuroid", [0.5, 1.5, 2.5]),
        },
        name="data",
        attrs={"identifier": "lab.Ü"},
    )


def _brainio(engine: str) -> Callable[[Path], Good]:
    def make(folder: Path) -> Good:
        _trials().to_netcdf(folder / "m.nc", engine=engine)
        return Good(folder / "m.nc", folder / "m.nc", {"by": "region", "repetitions": "mean"})

    return make


def _allen(engine: str) -> Callable[[Path], Good]:
    def make(folder: Path) -> Good:
        counts = xr.DataArray(
            np.arange(24).reshape(4, 2, 3),
            dims=("stimulus_presentation_id", "time_relative_to_stimulus_onset", "unit_id"),
            coords={
                "stimulus_presentation_id": [54, 51, 58, 53],
                "time_relative_to_stimulus_onset": [0.005, 0.015],
                "unit_id": [9, 7, 8],
                "frame": ("stimulus_presentation_id", [4.0, 0.0, 4.0, 1.0]),
            },
            name="spike_counts",
        )
        counts.to_netcdf(folder / "m.nc", engine=engine)
        keywords = {"stimulus": "frame", "repetitions": "keep"}
        return Good(folder / "m.nc", folder / "m.nc", keywords)

    return make


def _maps(folder: Path) -> Good:
    array = xr.DataArray(
        np.arange(24, dtype="f4").reshape(4, 3, 2),
        dims=("image", "channel", "x"),
        coords={"image": IDS, "channel": ["r", "g", "b"], "day": ("image", np.arange(4))},
        name="conv1",
    )
    array.to_netcdf(folder / "m.nc", engine="scipy")
    keywords = {"stimulus": "image", "feature": ["channel", "x"]}
    return Good(folder / "m.nc", folder / "m.nc", keywords)


def _our_netcdf(folder: Path) -> Good:
    reps = xc.stack_models({"a": X, "b": X[:, :2]}, stimuli=IDS).assign_attrs(note={"ü": [1]})
    reps = reps.assign_coords(day=("stimulus", np.arange(4).astype("M8[D]").astype("M8[ns]")))
    xc.io.write_netcdf(folder / "m.nc", reps)
    return Good(folder / "m.nc", folder / "m.nc", {})


def _rsatoolbox(make: Callable[[xr.DataArray], Any]) -> Callable[[Path], Good]:
    def save(folder: Path) -> Good:
        reps = xc.stack_models({"ä": X}, stimuli=IDS, modality="vision")
        make(reps.assign_coords(unit=("feature", [7, 8, 9]))).save(folder / "m.hdf5")
        return Good(folder / "m.hdf5", folder / "m.hdf5", {})

    return save


def _save_mat73(path: Path) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("features", data=X.T)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


GOOD: dict[str, tuple[str, Callable[[Path], Good]]] = {
    "npy": ("npy", _npy),
    "npz": ("npz", _npz),
    "npz of ours": ("npz", _our_npz),
    "csv": ("csv", _csv),
    "trials": ("trials", _table_of_trials),
    "design of trials": ("trials", _design),
    "parquet": ("parquet", _parquet),
    "ids": ("npy", _ids),
    "thingsvision npy": (
        "thingsvision",
        _things("features.npy", lambda path: np.save(path, X[:, :, None])),
    ),
    "thingsvision txt": ("thingsvision", _things("features.txt", lambda p: np.savetxt(p, X))),
    "thingsvision hdf5": ("thingsvision", _things("features.hdf5", _save_hdf5())),
    "thingsvision chunked hdf5": (
        "thingsvision",
        _things("features.hdf5", _save_hdf5(chunks=(2, 2), compression="gzip", fletcher32=True)),
    ),
    "thingsvision mat": ("thingsvision", _things("features.mat", _save_mat())),
    "thingsvision packed mat": (
        "thingsvision",
        _things("features.mat", _save_mat(do_compression=True)),
    ),
    "thingsvision mat of images": ("thingsvision", _things("features.mat", _save_mat_names)),
    "thingsvision mat 7.3": ("thingsvision", _things("features.mat", _save_mat73)),
    "brainio": ("brainio", _brainio("h5netcdf")),
    "brainio netcdf 3": ("brainio", _brainio("scipy")),
    "allen": ("allen", _allen("h5netcdf")),
    "allen netcdf 3": ("allen", _allen("scipy")),
    "netcdf 3": ("netcdf", _maps),
    "netcdf of ours": ("netcdf", _our_netcdf),
}
if find_spec("rsatoolbox") is not None:
    GOOD |= {
        "rsatoolbox": ("rsatoolbox", _rsatoolbox(xc.io.to_rsatoolbox_dataset)),
        "rsatoolbox-rdms": (
            "rsatoolbox-rdms",
            _rsatoolbox(lambda reps: xc.io.to_rsatoolbox_rdms(xc.rdm(reps, "euclidean"))),
        ),
    }
if find_spec("torch") is not None:
    GOOD |= {
        "thingsvision pt": ("thingsvision", _things("features.pt", _save_pt)),
        "platonic": ("platonic", _platonic()),
        "old platonic": ("platonic", _platonic(_use_new_zipfile_serialization=False)),
    }


def damages(good: bytes) -> st.SearchStrategy[bytes]:
    """Files that were damaged on disk, on the way, or by an enemy."""
    place = st.integers(0, len(good))
    byte = st.binary(min_size=1, max_size=8) | st.sampled_from(
        [
            b"\xff" * 8,
            b"\0" * 8,
            b"\xff\xff\xff\x7f",
            b"\x01\0\0\0\0\0\0\x10",
            b"9" * 9,
            b"\n",
            b",",
        ]
    )
    change = st.tuples(place, byte)

    def changed(changes: list[tuple[int, bytes]]) -> bytes:
        content = bytearray(good)
        for at, new in changes:
            content[at : at + len(new)] = new
        return bytes(content)

    span = st.tuples(place, place).map(sorted)
    return st.one_of(
        st.lists(change, min_size=1, max_size=6).map(changed),
        st.lists(change, min_size=1, max_size=1).map(changed),
        place.map(lambda at: good[:at]),
        place.map(lambda at: good[at:]),
        span.map(lambda s: good[: s[0]] + good[s[1] :]),
        span.map(lambda s: good[: s[1]] + good[s[0] :]),
        span.map(lambda s: good[: s[0]] + b"\0" * (s[1] - s[0]) + good[s[1] :]),
        st.tuples(place, byte).map(lambda c: good[: c[0]] + c[1] + good[c[0] :]),
        st.binary(max_size=200),
        st.sampled_from([b"", good * 2, good[:8], b"\0" * len(good), good[::-1]]),
    )


def check(kind: str, good: Good) -> str:
    """What a reader says of a source that may be damaged; an AssertionError is a finding."""
    with warnings.catch_warnings(record=True) as caught, dask.config.set(scheduler="synchronous"):
        warnings.simplefilter("always")
        try:
            array = KINDS[kind].load()(good.source, **good.keywords)
            CHECKS[KINDS[kind].gives](array)
            array.compute()
        except DOCUMENTED as documented:
            said = str(documented)
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        else:
            said = READ
    assert said.strip(), "an error without a word"
    assert not caught, f"warned: {[str(warning.message) for warning in caught]}"
    return said


def check_set(reps: Any) -> None:
    """A representation set as far as labels say; what its values say, `validate` does."""
    assert isinstance(reps, xr.DataArray)
    assert reps.dtype.kind == "f"
    assert {"model", "stimulus", "feature"} <= set(reps.dims)
    for dim in ("model", "stimulus"):
        check_text(reps, dim)
        assert reps.indexes[dim].is_unique
    xc.validate(reps)


def check_rdms(rdms: Any) -> None:
    """RDMs with a label for each model and stimulus, in one order, and symmetric."""
    assert rdms.dims == ("model", "stimulus", "stimulus_2")
    for dim in ("model", "stimulus"):
        check_text(rdms, dim)
        assert rdms.indexes[dim].is_unique
    assert rdms.indexes["stimulus"].equals(rdms.indexes["stimulus_2"])
    np.testing.assert_array_equal(rdms, rdms.values.swapaxes(1, 2))


CHECKS = {"representations": check_set, "rdms": check_rdms}


def good_files() -> dict[str, bytes]:
    """The file of every good source: with the name of another kind, a wrong one."""
    contents = {}
    for name, (_, make) in GOOD.items():
        with tempfile.TemporaryDirectory() as folder:
            contents[name] = make(Path(folder)).damaged.read_bytes()
    return contents


def fuzz(name: str, wrong: list[bytes | None], count: int, seed: int | None, log: Path) -> None:
    """Damage a source ``count`` times; before each try the log holds what is being tried."""
    kind, make = GOOD[name]
    folder = Path(tempfile.mkdtemp())
    good = make(folder)
    content = good.damaged.read_bytes()
    said = check(kind, good)
    assert said == READ, said
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def attempt(damaged: bytes | None) -> None:
        log.write_bytes(b"a folder" if damaged is None else damaged)
        if good.damaged.is_dir():
            good.damaged.rmdir()
        good.damaged.unlink(missing_ok=True)
        if damaged is None:
            good.damaged.mkdir()
        else:
            good.damaged.write_bytes(damaged)
        signal.alarm(SECONDS)
        check(kind, good)
        signal.alarm(0)

    for damaged in wrong:
        attempt(damaged)
    run = given(damages(content))(attempt)
    run = settings(
        max_examples=count, deadline=None, database=None, derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
    )(run)  # fmt: skip
    if seed is not None:
        from hypothesis import seed as seeded

        run = seeded(seed)(run)
    run()
    shutil.rmtree(folder)


def in_own_process(
    name: str, files: dict[str, bytes], count: int, seed: int | None, folder: Path
) -> str:
    """What was found, or nothing; a crash and a hang are findings too."""
    log, said = folder / "tried", folder / "said"
    said.write_text("")
    other = [content for kind, content in files.items() if kind != name]
    wrong = [None, b"", *other[: max(2, count // 8)]]
    child = os.fork()
    if not child:
        try:
            fuzz(name, wrong, count, seed, log)
        except BaseException:
            said.write_text(traceback.format_exc()[-3000:])
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if not code:
        return ""
    if code < 0 and name in C_LIBRARIES:
        return ""
    kept = folder / f"{name.replace(' ', '-')}.bad"
    if log.exists():
        shutil.copy(log, kept)
    reason = {-signal.SIGALRM: f"more than {SECONDS} s", 1: "failed"}.get(code, f"crashed: {code}")
    return f"{name}: {reason}; the file is {kept}\n{said.read_text()}"


def main() -> None:
    """Fuzz the readers that were named, or all; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", type=Path, default=None, help="folder for files that were bad")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp())
    for module in ("h5py", "h5netcdf", "pyarrow.parquet", "scipy.io", "torch"):
        if find_spec(module.split(".")[0]) is not None:
            __import__(module)
    # what hypothesis learns of this package on its first run, every process has
    settings(max_examples=200, database=None)(given(damages(b"warm"))(lambda damaged: None))()
    names = options.names or list(GOOD)
    files = good_files()
    found = {n: in_own_process(n, files, options.count, options.seed, keep) for n in names}
    print(json.dumps(found, indent=1))
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
