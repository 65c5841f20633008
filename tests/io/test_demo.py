import numpy as np
import pytest

import xconverge as xc


def test_a_demo_is_ready_to_be_analyzed():
    emoji = xc.open_demo("emoji")
    assert list(emoji) == ["vision", "language"]
    for reps in emoji.values():
        xc.validate(reps)
        assert reps.dtype == np.float32
        assert reps.chunks is None
        assert reps.attrs["licence"]
    assert emoji["vision"].indexes["stimulus"].equals(emoji["language"].indexes["stimulus"])


def test_recordings_are_of_the_same_photographs():
    found = xc.open_demo("images92")
    labels = set(found["vision"].indexes["stimulus"])
    for name in ("human_it", "monkey_it", "behaviour"):
        assert set(found[name].indexes["stimulus"]) == labels
        assert set(found[name].indexes["stimulus_2"]) == labels


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="emoji.*images92"):
        xc.open_demo("emojis")
