"""Several rows of one value: their means, in any chunks, or each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, images_and_captions, make_reps, no_compute, read_only, shuffled
from xconverge import SchemaError, pair
from xconverge.kernels.vectors import working_dtype
from xconverge.labels.joins import natural_rank

# --- plain loops -------------------------------------------------------------------------------


def rows_of(array, on):
    """Positions of the rows of every value, in natural order of their labels."""
    rank = natural_rank(array.indexes["stimulus"])
    rows = {}
    for position in np.argsort(rank):
        rows.setdefault(array[on].values[position], []).append(int(position))
    return rows


def mean_of_rows(array, rows):
    """Mean over the rows that are not NaN throughout, vector by vector."""
    values = np.asarray(array.transpose(..., "stimulus", "feature").values, np.float64)
    out = np.full((*values.shape[:-2], values.shape[-1]), np.nan)
    for place in np.ndindex(values.shape[:-2]):
        total, count = np.zeros(values.shape[-1]), 0
        for row in rows:
            vector = values[place][row]
            if not np.isnan(vector).all():
                total, count = total + vector, count + 1
        if count:
            out[place] = total / count
    return out


def mean_of_pairs(square, one, other):
    """Mean distance of two images: over all pairs of their captions that are not NaN."""
    found = [square[i, j] for i in one for j in other if not np.isnan(square[i, j])]
    return sum(found) / len(found) if found else np.nan


# --- sets --------------------------------------------------------------------------------------


@st.composite
def captions(draw, **fixed):
    """Captions of a few images, in any order, some never seen, of any dtype."""
    n = draw(st.integers(3, 9))
    images = [f"img{draw(st.integers(0, 3))}" for _ in range(n)]
    dtype = draw(st.sampled_from(["float16", "float32", "float64", "int16"]))
    missing = 0.0 if dtype == "int16" else draw(st.sampled_from([0.0, 0.4]))
    ragged = dtype != "int16" and draw(st.booleans())
    reps = make_reps(
        2, n, [3, 5] if ragged else 4, draw(st.integers(0, 99)), missing=missing, dtype=dtype,
        **fixed,
    )  # fmt: skip
    return reps.assign_coords(image_id=("stimulus", np.array(images, dtype=object)))


# --- the mean ----------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=6)
@given(captions(), st.data())
def test_means_are_those_of_plain_loops(reps, data):
    rows = rows_of(reps, "image_id")
    names = list(dict.fromkeys(reps.image_id.values))
    images = make_reps(2, len(names), 3).assign_coords(stimulus=names)
    _, whole = pair(images, read_only(reps), on="image_id")
    assert list(whole.stimulus.values) == list(dict.fromkeys(reps.image_id.values))
    # rows of one value each are only renamed
    repeated = len(rows) < reps.sizes["stimulus"]
    assert whole.dtype == (working_dtype(reps.dtype) if repeated else reps.dtype)
    for image, mine in rows.items():
        np.testing.assert_allclose(
            whole.sel(stimulus=image), mean_of_rows(reps, mine), rtol=1e-6, atol=1e-6
        )
        if (np.array([len(r) for r in rows.values()]) > 1).any():
            assert whole.n_repeats.sel(stimulus=image) == len(mine)
    lazy = data.draw(chunked(reps))
    with no_compute():
        _, later = pair(images, lazy, on="image_id")
    assert later.chunks is not None
    xr.testing.assert_identical(later.compute(), whole)
    order = shuffled(reps, data.draw(st.integers(0, 9)))
    _, other = pair(images, order, on="image_id")
    xr.testing.assert_identical(other.sel(stimulus=whole.stimulus), whole)


@pytest.mark.slow
@settings(max_examples=6)
@given(captions(extra={"layer": 2}), st.data())
def test_values_per_stimulus_are_averaged_one_by_one(reps, data):
    values = reps.isel(feature=0, drop=True).astype(np.float64).rename("dispersion")
    rows = rows_of(values, "image_id")
    found, _ = pair(values, values, on="image_id")
    for image, mine in rows.items():
        expected = mean_of_rows(values.expand_dims("feature", -1), mine)[..., 0]
        np.testing.assert_allclose(found.sel(stimulus=image), expected, rtol=1e-12)
    lazy = data.draw(chunked(values))
    xr.testing.assert_identical(pair(lazy, values, on="image_id")[0].compute(), found)


@pytest.mark.slow
@settings(max_examples=6)
@given(captions(), st.booleans(), st.integers(0, 9))
def test_distances_are_means_over_all_pairs_of_captions(reps, lazy, seed):
    rdms = xc.rdm(reps.astype(np.float64), "euclidean")
    mixed = shuffled(rdms, seed, "stimulus_2")
    given_ = mixed.chunk(stimulus=2, stimulus_2=3) if lazy else read_only(mixed)
    found, _ = pair(given_, reps, on="image_id")
    assert (found.chunks is not None) == lazy
    rows = rows_of(reps, "image_id")
    values = found.transpose("model", "stimulus", "stimulus_2").values
    assert found.stimulus_2.values.tolist() == found.stimulus.values.tolist()
    names = list(found.stimulus.values)
    for m, (i, one), (j, other) in itertools.product(range(2), *[list(enumerate(names))] * 2):
        square = rdms.values[m]
        if i != j:
            expected = mean_of_pairs(square, rows[one], rows[other])
            np.testing.assert_allclose(values[m, i, j], expected)
        else:
            seen = ~np.isnan([square[k, k] for k in rows[one]])
            np.testing.assert_equal(values[m, i, i], 0.0 if seen.any() else np.nan)
    again, _ = pair(shuffled(rdms, seed), reps, on="image_id")
    order = {"stimulus": found.stimulus.values, "stimulus_2": found.stimulus.values}
    np.testing.assert_array_equal(again.sel(order), found.sel(order))


def test_a_fault_inside_a_row_is_not_averaged_away():
    images, texts = images_and_captions()
    texts[0, 3, 2] = np.nan
    image = str(texts.image_id.values[3])
    with pytest.raises(SchemaError, match=f"NaN or infinity inside a row.*'{image}'"):
        xc.alignment(*pair(images, texts, on="image_id"), k=3)


def test_an_rdm_that_is_not_symmetric_is_still_refused():
    images, texts = images_and_captions()
    rdms = xc.rdm(texts)
    rdms[0, 1, 2] += 1.0
    with pytest.raises(ValueError, match="must be symmetric"):
        xc.rsa(*pair(xc.rdm(images), rdms, on="image_id"))


def test_the_mean_of_many_float16_is_exact_to_double():
    values = np.full((4096, 1), 0.1, np.float16)
    reps = xr.DataArray(
        values, dims=("stimulus", "feature"),
        coords={"stimulus": [f"c{i}" for i in range(4096)],
                "image_id": ("stimulus", ["a"] * 4096)},
    )  # fmt: skip
    found, _ = pair(reps, reps, on="image_id")
    assert found.dtype == np.float32
    assert float(found.squeeze()) == np.float32(np.float16(0.1))


def test_no_task_holds_more_than_a_chunk_or_an_image():
    import dask.array as da

    n = 4000
    lazy = xr.DataArray(
        da.zeros((2, n, 8), chunks=(1, 100, 8)), dims=("model", "stimulus", "feature"),
        coords={"model": ["a", "b"], "stimulus": [f"c{i}" for i in range(n)],
                "image_id": ("stimulus", [f"i{j % (n // 5)}" for j in range(n)])},
    )  # fmt: skip
    with no_compute():
        found, _ = pair(lazy, lazy, on="image_id")
    assert found.sizes["stimulus"] == n // 5
    assert max(found.variable.chunksizes["stimulus"]) * 5 <= 130
    assert found.variable.chunksizes["model"] == (1, 1)
    assert float(abs(found).sum()) == 0.0


# --- keep --------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=6)
@given(captions(), st.data())
def test_kept_rows_are_the_rth_of_every_image(reps, data):
    rows = rows_of(reps, "image_id")
    most = max(map(len, rows.values()))
    found, _ = pair(read_only(reps), reps.assign_coords(extra=1), on="image_id", repeats="keep")
    if most == 1:
        assert "repeat" not in found.dims
        assert found.stimulus_id.dims == ("stimulus",)
        return
    assert found.dims == ("repeat_a", *reps.dims)
    assert found.sizes["repeat_a"] == most
    for place, image in enumerate(found.stimulus.values):
        mine = rows[image]
        for r in range(most):
            value = found.values[r][:, place]
            names = [found[name].values[r, place] for name in ("stimulus_id", "caption")]
            if r < len(mine):
                np.testing.assert_array_equal(value, reps.values[:, mine[r]])
                assert names == [reps[name].values[mine[r]] for name in ("stimulus", "caption")]
            else:
                assert np.isnan(value).all()
                assert names == ["", ""]
    lazy = data.draw(chunked(reps))
    with no_compute():
        later, _ = pair(lazy, lazy, on="image_id", repeats="keep")
    xr.testing.assert_identical(later.compute(), found)
    order = shuffled(reps, 1)
    other, _ = pair(order, order, on="image_id", repeats="keep")
    xr.testing.assert_identical(other.sel(stimulus=found.stimulus), found)


def test_rows_are_kept_in_natural_order():
    _, texts = images_and_captions()
    kept, _ = pair(texts, texts, on="image_id", repeats="keep")
    numbers = [[int(name.split()[1]) for name in row if name] for row in kept.stimulus_id.values.T]
    assert all(row == sorted(row) for row in numbers)
    assert any(max(row) > 9 > min(row) for row in numbers)


def test_kept_rdms_are_those_of_the_kept_captions():
    images, texts = images_and_captions()
    _, kept = pair(images, texts, on="image_id", repeats="keep")
    _, rdms = pair(images, xc.rdm(texts), on="image_id", repeats="keep")
    expected = xc.rdm(kept)
    np.testing.assert_allclose(rdms.transpose(*expected.dims), expected, atol=1e-12)


def test_one_side_that_repeats_adds_repeat_and_two_make_an_outer_product():
    images, texts = images_and_captions(fewer=8)
    score = xc.alignment(*pair(images, texts, on="image_id", repeats="keep"), k=3)
    _, kept = pair(images, texts, on="image_id", repeats="keep")
    assert set(score.dims) == {"repeat", "model_a", "model_b", "stimulus"}
    third = kept.isel(repeat=1, drop=True)
    xr.testing.assert_allclose(
        score.isel(repeat=1).drop_vars(["repeat", "stimulus_id"], errors="ignore"),
        xc.alignment(images, third, k=3).drop_vars("stimulus_id", errors="ignore"),
    )
    texts, other = (images_and_captions(seed=s, fewer=8)[1] for s in (0, 1))
    both = xc.alignment(*pair(texts, other, on="image_id", repeats="keep"), "cka")
    assert {"repeat_a", "repeat_b"} <= set(both.dims)
    a, b = pair(texts, other, on="image_id", repeats="keep")
    one = xc.alignment(a.isel(repeat_a=0, drop=True), b.isel(repeat_b=1, drop=True), "cka")
    np.testing.assert_allclose(both.isel(repeat_a=0, repeat_b=1), one)


def test_repeat_must_be_free():
    images, texts = images_and_captions()
    with pytest.raises(SchemaError, match="has 'repeat'.*rename"):
        pair(images, texts.expand_dims(repeat=2), on="image_id", repeats="keep")
