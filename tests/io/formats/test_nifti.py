"""fMRI volumes behind masks, judged by nilearn; scores back to volumes."""

import sys

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import no_compute

nibabel = pytest.importorskip("nibabel")
SHAPE, IDS = (4, 3, 5), ["cat", "dog", "emu", "fox", "gnu"]
# turned and scaled, with an origin: i, j, k are no x, y, z
AFFINE = np.array([[0, -2.5, 0, 10], [2, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def volumes(n=5, seed=0, shape=SHAPE, dtype=np.float64):
    values = np.random.default_rng(seed).standard_normal((*shape, n)) * 100
    return nibabel.Nifti1Image(values.astype(dtype), AFFINE)


def numbers(seed=1, highest=1):
    values = np.random.default_rng(seed).integers(0, highest + 1, SHAPE).astype(np.uint8)
    return nibabel.Nifti1Image(values, AFFINE)


def save(image, path):
    nibabel.save(image, path)
    return path


def test_numbers_are_those_of_nilearn(tmp_path):
    masking = pytest.importorskip("nilearn.masking")
    image, mask = volumes(dtype=np.float32), numbers()
    expected = masking.apply_mask(image, mask)
    for given in (image, save(image, tmp_path / "i.nii"), save(image, tmp_path / "i.nii.gz")):
        reps = xc.io.from_nifti(given, mask, IDS, model="brain", modality="fmri")
        assert reps.dims == ("model", "stimulus", "feature")
        assert reps.stimulus.values.tolist() == IDS
        np.testing.assert_array_equal(reps[0].values, expected)
    xc.validate(reps)
    assert reps.attrs["modality"] == "fmri"
    np.testing.assert_array_equal(reps.attrs["affine"], AFFINE)
    assert reps.attrs["shape"] == list(SHAPE)
    # and back, as unmask does it, but for what is outside
    back = xc.io.to_nifti(reps)
    other = masking.unmask(expected, mask)
    inside = mask.get_fdata() > 0
    np.testing.assert_array_equal(back.get_fdata()[inside], other.get_fdata()[inside])
    assert np.isnan(back.get_fdata()[~inside]).all()
    np.testing.assert_array_equal(back.affine, other.affine)
    assert back.get_data_dtype() == np.float32


def test_voxels_say_where_they_lie():
    reps = xc.io.from_nifti(volumes(), numbers(), IDS, model="brain")
    values = volumes().get_fdata()
    for voxel in range(reps.sizes["feature"]):
        one = reps[0, :, voxel]
        at = [one[name].item() for name in "ijk"]
        np.testing.assert_array_equal(one, values[tuple(at)])
        np.testing.assert_allclose([one[n].item() for n in "xyz"], (AFFINE @ [*at, 1])[:3])
    assert reps.x.attrs == {"units": "mm"}
    assert reps.i.dtype.kind == "i"


def test_a_masker_does_what_it_was_told():
    maskers = pytest.importorskip("nilearn.maskers")
    image, mask = volumes(), numbers()
    masker = maskers.NiftiMasker(mask, smoothing_fwhm=4, standardize=None).fit()
    reps = xc.io.from_nifti(image, masker, IDS, model="brain")
    np.testing.assert_array_equal(reps[0], masker.transform(image))
    back = xc.io.to_nifti(reps).get_fdata()
    inside = mask.get_fdata() > 0
    other = masker.inverse_transform(masker.transform(image)).get_fdata()
    np.testing.assert_allclose(back[inside], other[inside], rtol=1e-6)
    singles = [image.slicer[..., i] for i in range(5)]
    np.testing.assert_array_equal(xc.io.from_nifti(singles, masker, IDS, model="brain"), reps)
    plain = xc.io.from_nifti(image, mask, IDS, model="brain")
    assert not np.allclose(plain, reps)
    xr.testing.assert_identical(plain.x, reps.x)
    with pytest.raises(xc.SchemaError, match="without a mask; .fit it"):
        xc.io.from_nifti(image, maskers.NiftiMasker(standardize=None), IDS, model="brain")
    regions = maskers.NiftiLabelsMasker(numbers(highest=3), standardize=None)
    with pytest.raises(TypeError, match="NiftiLabelsMasker, whose features are no voxels"):
        xc.io.from_nifti(image, regions, IDS, model="brain")
    with pytest.raises(ValueError, match="labels= are of a mask"):
        xc.io.from_nifti(image, masker, IDS, labels={1: "V1"})


def test_one_image_a_stimulus(tmp_path):
    whole = xc.io.from_nifti(volumes(), numbers(), IDS, model="brain")
    singles = [volumes().slicer[..., i] for i in range(5)]
    for ending in ("nii", "nii.gz"):
        paths = [save(one, tmp_path / f"{i}.{ending}") for i, one in enumerate(singles)]
        with no_compute():
            lazy = xc.io.from_nifti(paths, str(save(numbers(), tmp_path / "m.nii")), IDS, model="b")
        np.testing.assert_array_equal(lazy, whole)
    xr.testing.assert_identical(xc.io.from_nifti(singles, numbers(), IDS, model="brain"), whole)
    with pytest.raises(xc.SchemaError, match=r"4 trials, and its design 5"):
        xc.io.from_nifti(paths[:4], numbers(), IDS, model="brain")
    with pytest.raises(xc.SchemaError, match="all have three dims"):
        xc.io.from_nifti([volumes(), singles[0]], numbers(), IDS, model="brain")


def test_files_are_read_in_parts_when_they_are_computed(tmp_path, monkeypatch):
    image = volumes(12)
    path, ids = save(image, tmp_path / "i.nii"), [f"s{i}" for i in range(12)]
    monkeypatch.setattr("xconverge.kernels.budgets.BUDGETS.text_block", 60 * 8 * 3)
    expected = xc.io.from_nifti(image, numbers(), ids, model="brain")
    with no_compute():
        reps = xc.io.from_nifti(path, numbers(), ids, model="brain")
        loaded = xc.io.from_nifti(nibabel.load(path), numbers(), ids, model="brain")
    assert reps.chunksizes["stimulus"] == (3, 3, 3, 3)
    read = []
    monkeypatch.setattr(
        "xconverge.io.formats.nifti._behind",
        lambda volumes, where, real=xc.io.formats.nifti._behind: (
            read.append(volumes.shape), real(volumes, where))[1],
    )  # fmt: skip
    np.testing.assert_array_equal(reps[0, 4].values, expected[0, 4])
    assert sum(shape[3] for shape in read) <= 3
    np.testing.assert_array_equal(loaded, expected)
    for key in ([7, 2, 2], slice(10, 1, -3), slice(0, 0), 5):
        np.testing.assert_array_equal(reps[0, key, 3:5].values, expected[0, key, 3:5])
    save(volumes(12, seed=5), path)
    with pytest.raises(xc.SchemaError, match="has changed since it was opened"):
        reps.compute()


@pytest.mark.slow
def test_other_processes_read_files(tmp_path):
    reps = xc.io.from_nifti(save(volumes(), tmp_path / "i.nii"), numbers(), IDS, model="brain")
    expected = xc.io.from_nifti(volumes(), numbers(), IDS, model="brain")
    with dask.config.set(scheduler="processes", num_workers=2):
        np.testing.assert_array_equal(reps.compute(), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, ">f4"])
def test_numbers_are_as_nibabel_scales_them(tmp_path, dtype):
    image = volumes(3)
    image.set_data_dtype(dtype)
    for ending in ("nii", "nii.gz", "mgz" if dtype in (np.uint8, np.float32) else "nii"):
        if ending == "mgz":
            image = nibabel.MGHImage(volumes(3).get_fdata().astype(np.float32), AFFINE)
        path = save(image, tmp_path / f"i.{ending}")
        reps = xc.io.from_nifti(path, numbers(), IDS[:3], model="brain")
        inside = numbers().get_fdata() > 0
        np.testing.assert_array_equal(reps[0], nibabel.load(path).get_fdata()[inside].T)
        assert reps.compute().dtype == reps.dtype


def test_regions_are_models():
    atlas, names = numbers(highest=3), {1: "V1", 3: "IT"}
    reps = xc.io.from_nifti(volumes(), atlas, IDS, labels=names)
    assert reps.model.values.tolist() == ["V1", "IT"]
    assert reps.i.dims == ("model", "feature")
    for number, name in names.items():
        mask = nibabel.Nifti1Image((atlas.get_fdata() == number).astype(np.uint8), AFFINE)
        alone = xc.io.from_nifti(volumes(), mask, IDS, model=name)
        mine = reps.sel(model=name).isel(feature=slice(alone.sizes["feature"]))
        np.testing.assert_array_equal(mine, alone[0])
        np.testing.assert_array_equal(mine.z, alone.z)
    masks = {
        name: nibabel.Nifti1Image((atlas.get_fdata() == number).astype(np.uint8), AFFINE)
        for number, name in names.items()
    }
    xr.testing.assert_identical(xc.io.from_nifti(volumes(), masks, IDS), reps)
    # regions that share no voxel go into one image
    image = xc.io.to_nifti(reps.isel(stimulus=2)).get_fdata()
    inside = np.isin(atlas.get_fdata(), [1, 3])
    np.testing.assert_array_equal(image[inside], volumes().get_fdata()[..., 2][inside])
    assert np.isnan(image[~inside]).all()
    either = nibabel.Nifti1Image(inside.astype(np.uint8), AFFINE)
    overlapping = xc.io.from_nifti(volumes(), {"a": masks["V1"], "b": either}, IDS)
    with pytest.raises(xc.SchemaError, match="voxels twice"):
        xc.io.to_nifti(overlapping.isel(stimulus=0))
    with pytest.raises(xc.SchemaError, match=r"numbers '?0.*name regions with labels="):
        xc.io.from_nifti(volumes(), atlas, IDS, model="brain")
    with pytest.raises(xc.SchemaError, match="no voxel of '?9"):
        xc.io.from_nifti(volumes(), atlas, IDS, labels={9: "V9"})
    with pytest.raises(xc.SchemaError, match="leave it out"):
        xc.io.from_nifti(volumes(), atlas, IDS, labels=names, model="brain")


def test_subjects_have_masks_of_their_own(tmp_path):
    images = {"s1": volumes(seed=0), "s2": volumes(seed=1)}
    masks = {"s1": numbers(1), "s2": numbers(2)}
    reps = xc.io.from_nifti(images, masks, {"s1": IDS, "s2": IDS[::-1]}, model="brain")
    assert reps.dims == ("model", "subject", "stimulus", "feature")
    assert reps.i.dims == ("subject", "feature")
    for name, ids in (("s1", IDS), ("s2", IDS[::-1])):
        alone = xc.io.from_nifti(images[name], masks[name], ids, model="brain")
        mine = reps.sel(subject=name, stimulus=ids).isel(feature=slice(alone.sizes["feature"]))
        np.testing.assert_array_equal(mine, alone)
        image = xc.io.to_nifti(reps.sel(subject=name, stimulus=ids))
        np.testing.assert_array_equal(
            image.get_fdata(), xc.io.to_nifti(alone, like=masks[name]).get_fdata()
        )
    xc.write_representations(tmp_path / "s.zarr", reps, modality="fmri")
    again = xc.open_representations(tmp_path / "s.zarr", "fmri").sel(subject="s2")
    np.testing.assert_array_equal(
        xc.io.to_nifti(again.sel(stimulus=IDS)).get_fdata(),
        xc.io.to_nifti(reps.sel(subject="s2", stimulus=IDS)).get_fdata(),
    )
    both = xc.io.from_nifti(images, numbers(1), IDS, model="brain")
    assert both.i.dims == ("feature",)
    with pytest.raises(xc.SchemaError, match=r"over \['feature'\].*'subject'"):
        xc.io.to_nifti(both)


def test_trials_and_sessions():
    shown = ["cat", "dog", "cat", "emu", "cat"]
    with pytest.raises(xc.SchemaError, match=r"cat \(3 times\)"):
        xc.io.from_nifti(volumes(), numbers(), shown, model="brain")
    values = volumes().get_fdata()[numbers().get_fdata() > 0].T
    mean = xc.io.from_nifti(volumes(), numbers(), shown, model="brain", repetitions="mean")
    np.testing.assert_allclose(mean.sel(model="brain", stimulus="cat"), values[[0, 2, 4]].mean(0))
    kept = xc.io.from_nifti(
        [volumes(3), volumes(2, seed=1)], numbers(),
        [["cat", "dog", "cat"], pd.DataFrame({"stimulus_id": ["dog", "emu"]})],
        model="brain", repetitions="keep",
    )  # fmt: skip
    assert kept.session.sel(stimulus="dog").values.tolist() == [0, 1]
    second = volumes(2, seed=1).get_fdata()[numbers().get_fdata() > 0].T
    np.testing.assert_array_equal(kept.sel(model="brain", stimulus="dog", repetition=1), second[0])
    table = pd.DataFrame({"image": IDS, "onset": range(5)})
    reps = xc.io.from_nifti(volumes(), numbers(), table, stimulus="image", model="brain")
    assert reps.onset.values.tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_resampled():
    moved = nibabel.Nifti1Image(numbers().get_fdata(), AFFINE + np.eye(4) * 0.1)
    other = nibabel.Nifti1Image(np.ones((4, 3, 6), np.uint8), AFFINE)
    for mask in (moved, other, {"V1": moved}):
        with pytest.raises(xc.SchemaError, match="another grid.*nilearn.image.resample_to_img"):
            xc.io.from_nifti(volumes(), mask, IDS, model="brain")
    one = nibabel.Nifti1Image(np.ones(SHAPE), np.eye(4))
    with pytest.raises(xc.SchemaError, match=r"images\[1\] lies on another grid"):
        xc.io.from_nifti([volumes().slicer[..., 0], one], numbers(), IDS[:2], model="brain")
    reps = xc.io.from_nifti(volumes(), numbers(), IDS, model="brain")
    with pytest.raises(xc.SchemaError, match="not where the affine puts its voxels"):
        xc.io.to_nifti(reps, like=nibabel.Nifti1Image(np.ones(SHAPE), np.eye(4)))
    with pytest.raises(xc.SchemaError, match=r"outside of an image of the shape \(1, 1, 1\)"):
        xc.io.to_nifti(reps, like=nibabel.Nifti1Image(np.ones((1, 1, 1)), AFFINE))


def test_voxels_that_are_nan():
    image = volumes()
    values = image.get_fdata().copy()
    inside = np.argwhere(numbers().get_fdata() > 0)
    values[tuple(inside[3])] = np.nan  # never measured: padding
    never = nibabel.Nifti1Image(values, AFFINE)
    reps = xc.io.from_nifti(never, numbers(), IDS, model="brain")
    assert reps.sizes["feature"] == len(inside) - 1
    assert [*inside[3]] not in np.stack([reps[n].values for n in "ijk"], 1).tolist()
    values[(*inside[5], 2)] = np.nan
    gaps = nibabel.Nifti1Image(values, AFFINE)
    with pytest.raises(xc.SchemaError, match="stimuli 'emu'"):
        xc.io.from_nifti(gaps, numbers(), IDS, model="brain")
    with pytest.warns(RuntimeWarning, match=f"1 of {len(inside) - 1}"):
        dropped = xc.io.from_nifti(gaps, numbers(), IDS, model="brain", gaps="drop")
    volume = xc.io.to_nifti(dropped).get_fdata()
    assert np.isnan(volume[tuple(inside[3])]).all()
    assert np.isnan(volume[tuple(inside[5])]).all()
    np.testing.assert_array_equal(volume[tuple(inside[6])], values[tuple(inside[6])])


def test_a_searchlight_becomes_a_map(tmp_path):
    whole = nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    reps = xc.io.from_nifti(volumes(), whole, IDS, model="brain")
    net = xc.stack_models({"net": np.random.default_rng(3).standard_normal((5, 7))}, stimuli=IDS)
    brain = reps.squeeze("model", drop=True)
    table = xc.searchlight(brain, net, coordinates=("i", "j", "k"), radius=1.5)
    image = xc.io.to_nifti(table["rsa"], like=reps)
    assert image.shape == SHAPE
    at = (2, 1, 3)
    here = (table["i"] == 2) & (table["j"] == 1) & (table["k"] == 3)
    assert image.get_fdata()[at] == table["rsa"].squeeze(drop=True)[here.values].item()
    nibabel.save(image, tmp_path / "map.nii.gz")


def test_what_is_no_image_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"images\[0\] must be a path, or an image of nibabel"):
        xc.io.from_nifti(np.ones((2, 2, 2, 5)), numbers(), IDS, model="brain")
    with pytest.raises(FileNotFoundError, match="no file"):
        xc.io.from_nifti(tmp_path / "x.nii", numbers(), IDS, model="brain")
    (tmp_path / "x.nii").write_bytes(b"no image")
    with pytest.raises(xc.SchemaError, match="cannot be read as an image that nibabel reads"):
        xc.io.from_nifti(tmp_path / "x.nii", numbers(), IDS, model="brain")
    for ending in ("nii", "nii.gz"):
        path = save(volumes(), tmp_path / f"half.{ending}")
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(xc.SchemaError, match=f"half.{ending} cannot be read as an image"):
            xc.io.from_nifti(path, numbers(), IDS, model="brain").compute()
        mask = save(numbers(), tmp_path / f"mask.{ending}")
        mask.write_bytes(mask.read_bytes()[:-20])
        with pytest.raises(xc.SchemaError, match=f"mask.{ending} cannot be read as an image"):
            xc.io.from_nifti(volumes(), mask, IDS, model="brain")
    with pytest.raises(xc.SchemaError, match="mask is empty"):
        xc.io.from_nifti(volumes(), nibabel.Nifti1Image(np.zeros(SHAPE), AFFINE), IDS, model="b")
    holes = nibabel.Nifti1Image(np.full(SHAPE, np.nan), AFFINE)
    with pytest.raises(xc.SchemaError, match="not finite"):
        xc.io.from_nifti(volumes(), holes, IDS, model="b")
    with pytest.raises(xc.SchemaError, match="model='…'"):
        xc.io.from_nifti(volumes(), numbers(), IDS)
    meters = volumes()
    meters.header.set_xyzt_units("meter")
    with pytest.raises(xc.SchemaError, match="affine in mm.*'meter'"):
        xc.io.from_nifti(meters, numbers(), IDS, model="b")
    reps = xc.io.from_nifti(volumes(), numbers(), IDS, model="b")
    with pytest.raises(xc.SchemaError, match="no coordinates 'i', 'j', 'k'"):
        xc.io.to_nifti(reps.drop_vars(["i", "j", "k"]))
    with pytest.raises(xc.SchemaError, match="give like="):
        xc.io.to_nifti(reps.drop_attrs())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for call in (lambda: xc.io.from_nifti(0, 0, IDS), lambda: xc.io.to_nifti(reps)):
        with pytest.raises(ImportError, match=r"needs nibabel.*xconverge\[bridges\]"):
            call()
