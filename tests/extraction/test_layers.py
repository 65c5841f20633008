"""Which layers are meant."""

import pytest

import xconverge as xc
from xconverge.extraction.layers import chosen

NAMES = [
    "stem", "blocks.0", "blocks.0.attn", "blocks.0.attn.qkv", "blocks.1", "blocks.10",
    "blocks.1.attn", "/layer3/Relu_output_0", "/layer4/Relu_output_0", "a[b", "output",
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, ["output"]),
        ("stem", ["stem"]),
        (["output", "stem"], ["output", "stem"]),
        ("blocks.*", ["blocks.0", "blocks.1", "blocks.10"]),
        ("blocks.?", ["blocks.0", "blocks.1"]),
        ("blocks.*.attn", ["blocks.0.attn", "blocks.1.attn"]),
        ("blocks.**", ["blocks.0", "blocks.0.attn", "blocks.0.attn.qkv", "blocks.1", "blocks.10",
                       "blocks.1.attn"]),
        (["blocks.1", "blocks.*"], ["blocks.1", "blocks.0", "blocks.10"]),
        ("blocks.[1-9]", ["blocks.1"]),
        ("/layer*/Relu*", ["/layer3/Relu_output_0", "/layer4/Relu_output_0"]),
        ("a[b", ["a[b"]),  # a name is a name, whatever a pattern would make of it
    ],
)  # fmt: skip
def test_names_and_patterns(asked, found):
    assert chosen(asked, NAMES, "net") == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("block.0", r"net has no layer 'block.0'; close to it are 'blocks.0'.* It has 11: 'stem'"),
        ("attn", r"close to it are .*'blocks.0.attn'"),
        ("Blocks.*", "net has no layer"),
        ("[", "net has no layer"),
        ("zzz", r"no layer 'zzz'\. It has 11"),
    ],
)
def test_one_that_is_not_there_lists_close_ones(asked, said):
    with pytest.raises(xc.SchemaError, match=said):
        chosen(asked, NAMES, "net")


@pytest.mark.parametrize("asked", [[], [3], [""], ""])
def test_what_is_no_name(asked):
    with pytest.raises(TypeError, match="layers must be names or patterns"):
        chosen(asked, NAMES, "net")
