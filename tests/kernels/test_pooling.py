"""What of a layer is kept, in loops; NumPy and PyTorch alike."""

import numpy as np
import pytest

from xconverge.kernels.pooling import pooled

TOKENS = np.random.default_rng(0).standard_normal((5, 7, 3)).astype(np.float32)
MAPS = np.random.default_rng(1).standard_normal((5, 8, 4, 4)).astype(np.float32)
RIGHT = np.array([[t < n for t in range(7)] for n in (1, 7, 3, 5, 2)])
"""Texts of these lengths, padded on the right; reversed, on the left."""


def arrays(values):
    """The same in each library that is here."""
    yield values
    try:
        import torch
    except ImportError:
        return
    yield torch.from_numpy(values.copy())


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", sum(TOKENS.swapaxes(0, 1)) / 7),
        ("cls", TOKENS[:, 0]),
        ("last", TOKENS[:, 6]),
        ("flatten", TOKENS.reshape(5, 21)),
    ],
)
def test_tokens(pool, expected):
    for tokens in arrays(TOKENS):
        found = pooled(tokens, pool, "x", 5)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_padding_counts_nowhere(side, pool):
    mask = RIGHT if side == "right" else RIGHT[:, ::-1]
    values = TOKENS.copy()
    values[~mask] = np.nan  # whatever stands there
    of = {"mean": lambda own: own.mean(0), "cls": lambda own: own[0], "last": lambda own: own[-1]}
    expected = [of[pool](TOKENS[i][mask[i]]) for i in range(5)]
    for tokens in arrays(values):
        found = pooled(tokens, pool, "x", 5, mask)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(np.asarray(tokens), values)  # the input is as it was


def test_maps():
    for maps in arrays(MAPS):
        mean = np.asarray(pooled(maps, "mean", "x", 5))
        np.testing.assert_allclose(mean, MAPS.mean((2, 3)), rtol=1e-5, atol=1e-7)
        flat = np.asarray(pooled(maps, "flatten", "x", 5))
        np.testing.assert_array_equal(flat, MAPS.reshape(5, -1))
    for last in arrays(np.ascontiguousarray(MAPS.transpose(0, 2, 3, 1))):
        mean = np.asarray(pooled(last, "mean_channels_last", "x", 5))
        np.testing.assert_allclose(mean, MAPS.mean((2, 3)), rtol=1e-5, atol=1e-7)
    video = np.arange(2 * 3 * 2 * 2 * 2.0).reshape(2, 3, 2, 2, 2)
    np.testing.assert_allclose(pooled(video, "mean", "x", 2), video.mean((2, 3, 4)))


def test_vectors_are_taken_as_they_are():
    for pool in ("mean", "cls", "last", "flatten"):
        assert pooled(MAPS[:, :, 0, 0], pool, "x", 5).shape == (5, 8)


@pytest.mark.parametrize(
    ("values", "pool", "mask", "said"),
    [
        (TOKENS.swapaxes(0, 1), "mean", None, "'x': no mean .*(7, 5, 3).* must be the 5 stimuli"),
        (TOKENS[:, 0, 0], "mean", None, "must be the 5 stimuli"),
        (MAPS, "cls", None, "maps have no tokens"),
        (MAPS, "last", None, "maps have no tokens"),
        (TOKENS, "flatten", RIGHT, "texts differ in length"),
        (TOKENS[:, :4], "mean", RIGHT, "the texts have 7 tokens each"),
        (TOKENS, "last", RIGHT & False, "a text has no tokens"),
        (MAPS.transpose(0, 2, 3, 1), "mean", None, "take mean_channels_last"),
        (MAPS, "mean_channels_last", None, "take mean"),
    ],
)
def test_what_has_no_such_pooling_is_refused(values, pool, mask, said):
    for array in arrays(np.ascontiguousarray(values)):
        with pytest.raises(ValueError, match=said.replace("(7, 5, 3)", r"\(7, 5, 3\)")):
            pooled(array, pool, "x", 5, mask)
