"""Images as they are opened and prepared."""

import numpy as np
import pytest

import xconverge as xc
from tests.extraction.stimuli import LABELS, SIZE, pixels_of
from xconverge.extraction.images import Square, as_image, opened
from xconverge.extraction.stimuli import stimuli_of
from xconverge.io.demo import shipped

Image = pytest.importorskip("PIL.Image")


def test_the_middle_square_on_white(folder):
    found, prepare = stimuli_of(str(folder)), Square(SIZE)
    rows = np.stack([prepare(found.read(label)) for label in LABELS])
    np.testing.assert_allclose(rows, pixels_of(folder), atol=1e-6)


def test_mean_and_deviation_of_each_colour():
    image = Image.new("RGB", (9, 9), (255, 0, 51))
    made = Square.of({"size": 3, "mean": [0.5, 0.25, 0.2], "std": [0.5, 0.25, 2]})(image)
    np.testing.assert_allclose(made[:, 1, 1], [1, -1, 0], atol=1e-7)


def test_upright(tmp_path):
    image = Image.fromarray(np.arange(0, 256, dtype=np.uint8).reshape(16, 16))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned: a quarter clockwise makes it upright
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", exif=turned)
    found = stimuli_of(tmp_path)
    plain, upright = (np.asarray(found.read(label)) for label in "ab")
    np.testing.assert_array_equal(plain[..., 0], np.asarray(image))
    np.testing.assert_array_equal(upright[..., 0], np.rot90(plain[..., 0], -1))


def test_the_shipped_emoji():
    with shipped() as data:
        emoji = xc.open_representations(data / "demo.zarr", "vision")["stimulus"]
        found = stimuli_of(data / "thumbnails.zip")
        assert set(found.names) == set(emoji.values.tolist())
        grin = np.asarray(found.read("1F600"))
    np.testing.assert_array_equal(grin[0, 0], 255)  # white behind it
    assert grin[..., 2].mean() < grin[..., 0].mean()  # yellow: less blue than red


def test_a_damaged_image_is_named(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(xc.SchemaError, match=r"the image of 'a', .*a\.png"):
        stimuli_of(tmp_path).read("a")


def test_more_than_eight_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 700, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(xc.SchemaError, match="image of 'a', .*more than 8 bits a channel"):
        stimuli_of(tmp_path).read("a")


def test_pixels_become_images():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(np.asarray(as_image(pixels)), pixels)
    assert as_image(pixels[..., 0]).mode == "RGB"
    for bad in (pixels.astype(float), pixels[None], pixels[..., :2]):
        with pytest.raises(xc.SchemaError, match="of uint8; got"):
            as_image(bad)


def test_an_image_that_is_open_already():
    image = Image.new("LA", (3, 3), (0, 0))
    np.testing.assert_array_equal(np.asarray(opened(image, "a", "")), 255)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "has 'size'"),
        ({"size": 3, "crop": 2}, "it has 'size', 'crop'"),
        ({"size": 0}, "size must be a whole number, 1 at least"),
        ({"size": 3, "mean": 0.5}, "mean must be three numbers"),
        ({"size": 3, "std": [0.5, 0, 1]}, "std must not be 0"),
    ],
)
def test_what_a_square_needs(given, said):
    with pytest.raises(ValueError, match=said):
        Square.of(given)
