"""Numbers that NumPy has no name for, and numbers that a float would round, in every reader."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis.extra import numpy as hnp

import xconverge as xc
from tests.helpers import no_compute
from tests.io.formats.sets import X, assert_model, folder_of, save_hdf5
from xconverge.labels.messages import SchemaError

ml_dtypes = pytest.importorskip("ml_dtypes")
IDS = list("abcd")
SMALL = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4")
# eighths up to 3: each of these types but int4 has some of them, and rounds the others
VALUES = np.arange(12.0).reshape(4, 3) / 4


def small(name):
    """Numbers of a small type, and the same in double."""
    array = VALUES.astype(getattr(ml_dtypes, name))
    return array, array.astype(np.float64)


# files, which do not keep the name


def npy(folder, array):
    np.save(folder / "m.npy", array)
    return xc.io.read_npy(folder / "m.npy", IDS)


def npz(folder, array):
    np.savez(folder / "m.npz", m=array)
    return xc.io.read_npz(folder / "m.npz", IDS)


def hdf5(folder, array):
    features = folder_of(folder, IDS)
    save_hdf5(features / "features.hdf5", features=array)
    return xc.io.read_thingsvision(features)


def mat73(folder, array):
    h5py = pytest.importorskip("h5py")
    path = folder_of(folder, IDS) / "features.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["features"] = array.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return xc.io.read_thingsvision(path.parent)


def rsatoolbox(folder, array):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "d.hdf5", "w") as file:
        file["measurements"] = array
        file.attrs["type"] = "Dataset"
        group = file.create_group("obs_descriptors")
        group["stimulus"] = np.array(IDS, "S")
        for name in ("descriptors", "channel_descriptors"):
            file.create_group(name)
    return xc.io.read_rsatoolbox_dataset(folder / "d.hdf5")


def zarr(folder, array):
    z = pytest.importorskip("zarr")
    raw = array.view(f"V{array.dtype.itemsize}")
    group = z.open_group(folder / "s.zarr", mode="w", path="v")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr has no stable format for raw bytes
        stored = group.create_array(
            "representation", shape=(1, *raw.shape), dtype=raw.dtype,
            dimension_names=["model", "stimulus", "feature"],
        )  # fmt: skip
        stored[0] = raw
        group.create_array("model", data=np.array([1]), dimension_names=["model"])
        group.create_array("stimulus", data=np.arange(4), dimension_names=["stimulus"])
        return xc.validate(xc.open_representations(folder / "s.zarr", "v"))


@pytest.mark.parametrize("read", [npy, npz, hdf5, mat73, rsatoolbox, zarr])
@pytest.mark.parametrize(
    ("name", "match"),
    [("bfloat16", "two raw bytes a number .*bfloat16"), ("float8_e4m3fn", "one raw byte .*float8")],
)
def test_raw_bytes_say_what_they_may_be(tmp_path, read, name, match):
    array, _ = small(name)
    # NumPy's own files tell bfloat16 from other raw bytes
    array = array.view("V2") if read in (npy, npz) and name == "bfloat16" else array
    with pytest.raises(SchemaError, match=match) as caught:
        read(tmp_path, array)
    assert "several fields" not in str(caught.value)
    assert read is zarr or "save array.astype('float32')" in str(caught.value)


def things(folder, array):
    features = folder_of(folder, IDS)
    np.save(features / "features.npy", array)
    return xc.io.read_thingsvision(features, model="m")


def trials(folder, array):
    np.save(folder / "m.npy", array)
    (folder / "design.csv").write_text("stimulus_id\na\nb\nc\nd\n")
    reps = xc.io.read_trials(folder / "m.npy", folder / "design.csv", repetitions="mean")
    return reps.drop_vars("n_repetitions")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("read", [npy, npz, things, trials])
@given(bits=hnp.arrays(np.uint16, (4, 3)))
def test_bfloat16_in_files_of_numpy_is_read_bit_by_bit(tmp_path, read, order, bits):
    array = np.asarray(bits.view(ml_dtypes.bfloat16), order=order)
    expected = array.astype(np.float32)
    assume(np.isfinite(expected).all())
    with TemporaryDirectory(dir=tmp_path) as folder:
        reps = read(Path(folder), array)
        assert reps.dtype == np.float32
        assert_model(reps.compute(), expected, IDS)


def test_bfloat16_stays_on_disk(tmp_path):
    np.save(tmp_path / "m.npy", VALUES.astype(ml_dtypes.bfloat16))
    with no_compute():
        reps = xc.io.read_npy(tmp_path / "m.npy", IDS)
    assert reps.chunks is not None
    xc.write_representations(tmp_path / "s.zarr", reps, modality="v")
    assert_model(xc.open_representations(tmp_path / "s.zarr", "v").compute(), VALUES, IDS)


def test_numpy_cannot_read_its_own_float8(tmp_path):
    for read in (npy, npz):
        with pytest.raises(SchemaError, match="probably float8.*save array.astype"):
            read(tmp_path, small("float8_e5m2")[0])


# in memory, where the type has its name


def stacked(array):
    return xc.stack_models({"m": array}, stimuli=IDS)


def labelled(array):
    plain = xr.DataArray(array, dims=("stimulus", "feature"), coords={"stimulus": IDS})
    return xc.stack_models({"m": plain.chunk(2)})


def framed(array):
    frame = pd.DataFrame(array, index=IDS)
    return xc.stack_models({"m": frame.assign(other=[0.5] * 4)})[..., :3]


def masked(array):
    rows = np.ma.masked_array(array, np.zeros(array.shape, bool))
    return xc.stack_models({"m": rows}, stimuli=IDS)


def foreign(array):
    return xc.from_xarray(
        xr.DataArray(array, dims=("image", "unit"), coords={"image": IDS}, name="m"),
        stimulus="image", feature="unit",
    )  # fmt: skip


def assembly(array):
    coords = {"stimulus_id": ("presentation", IDS)}
    return xc.io.from_brainio(
        xr.DataArray(array, dims=("presentation", "neuroid"), coords=coords),
        model="m", repetitions="mean",
    )  # fmt: skip


def toolbox(array):
    data = pytest.importorskip("rsatoolbox").data
    return xc.io.from_rsatoolbox_dataset(
        data.Dataset(array, {"model": "m"}, {"stimulus": IDS}, {"unit": [0, 1, 2]})
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("make", [stacked, labelled, foreign, assembly, toolbox])
def test_numbers_with_a_name_are_taken_as_they_are(make, name):
    array, values = small(name)
    reps = make(array).compute()
    assert reps.dtype in (np.float32, np.float64)
    assert_model(reps, values, IDS)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("name", SMALL)
def test_a_writer_takes_them_too(tmp_path, name):
    array, values = small(name)
    with xc.ModelWriter(tmp_path / "s.zarr", "v", "m", IDS, 3) as writer:
        writer.write(IDS, array)
    assert_model(xc.open_representations(tmp_path / "s.zarr", "v").compute(), values, IDS)


def test_a_set_of_them_says_how_to_go_on():
    reps = stacked(X).astype(ml_dtypes.bfloat16)
    with pytest.raises(SchemaError, match="got dtype bfloat16; .*float32.* keeps"):
        xc.validate(reps)


# whole numbers that floats round

BIG = np.array([[2**53 + 1, 1, 2]] * 4)


def long(array):
    frame = pd.DataFrame({"model": "m", "stimulus": np.repeat(IDS, 3), "feature": [0, 1, 2] * 4})
    return xc.io.from_long(frame.assign(representation=array.ravel()))


def csv(folder, array):
    table = pd.DataFrame(array, columns=list("xyz")).assign(id=IDS)
    table.to_csv(folder / "m.csv", index=False)
    return xc.io.read_csv(folder / "m.csv", "id")


def parquet(folder, array):
    pytest.importorskip("pyarrow")
    pd.DataFrame(array, index=IDS, columns=list("xyz")).to_parquet(folder / "m.parquet")
    return xc.io.read_parquet(folder / "m.parquet")


def vectors(folder, array):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"e": list(array)}, index=IDS).to_parquet(folder / "m.parquet")
    return xc.io.read_parquet(folder / "m.parquet")


def text(folder, array):
    features = folder_of(folder, IDS)
    np.savetxt(features / "features.txt", array, fmt="%d")
    return xc.io.read_thingsvision(features)


def writer(folder, array):
    with xc.ModelWriter(folder / "s.zarr", "v", "m", IDS, 3) as opened:
        opened.write(IDS, array)


def store(folder, array):
    reps = xc.stack_models({"m": np.zeros((4, 3))}, stimuli=IDS, modality="v")
    xc.write_representations(folder / "s.zarr", (reps * 0).astype("i8") + array)


FILES = [npy, npz, hdf5, mat73, rsatoolbox, csv, parquet, vectors, text, writer, store]


@pytest.mark.parametrize("read", FILES)
@pytest.mark.parametrize("sign", [1, -1])
def test_whole_numbers_in_files_are_exact_or_refused(tmp_path, read, sign):
    with pytest.raises(SchemaError, match="whole numbers beyond 2\\*\\*53"):
        read(tmp_path, sign * BIG).compute()


@pytest.mark.parametrize(
    "make", [stacked, labelled, framed, masked, foreign, assembly, toolbox, long]
)
@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_whole_numbers_in_memory_are_exact_or_refused(make, dtype):
    with pytest.raises(SchemaError, match="whole numbers beyond 2\\*\\*53"):
        make(BIG.astype(dtype)).compute()
    good = np.array([[2**53, 1, 2]] * 4).astype(dtype)
    assert make(good).values.max() == 2**53


def test_rdms_of_whole_numbers_are_exact_or_refused():
    rsa = pytest.importorskip("rsatoolbox").rdm
    rdms = rsa.RDMs(BIG[:1], "d", {}, {"model": ["m"]}, {"stimulus": ["a", "b", "c"]})
    with pytest.raises(SchemaError, match="whole numbers beyond"):
        xc.io.from_rsatoolbox_rdms(rdms)


def test_batches_of_whole_numbers_keep_their_digits(tmp_path):
    with xc.ModelWriter(tmp_path / "s.zarr", "v", "m", IDS, 3) as opened:
        opened.write(["a"], X[:1].astype("f4"))
        with pytest.raises(SchemaError, match="int64 and is stored as float32.* lose digits"):
            opened.write(["b"], np.full((1, 3), 2**24 + 1))
        opened.write(["b", "c", "d"], np.full((3, 3), 2**24))


def test_coordinates_of_stimuli_that_a_model_lacks_are_exact_or_refused():
    def some(ids, values):
        coords = {"stimulus": ids, "code": ("stimulus", values)}
        return xr.DataArray(np.ones((len(ids), 2)), coords, ("stimulus", "feature"))

    models = {"a": some(["x", "y"], [2**53 + 1, 2]), "b": some(["y", "z"], [2, 3])}
    with pytest.raises(SchemaError, match="coordinate 'code' of model 'a' holds whole numbers"):
        xc.stack_models(models, join="outer")
    assert xc.stack_models(models, join="inner").code.values.tolist() == [2]
