"""Scores in safetensors: they come back exactly, and bytes that are anything else are refused."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.programs.errors import FileError
from gaugeblock.submissions.tensors import read_scores, write_scores
from support.submissions import refused

TENSORS = write_scores({"a": 1.5, "b": -2.0}, {"n": 0.1})


def test_tensors_come_back_exactly():
    assert read_scores(TENSORS, "t") == ({"a": 1.5, "b": -2.0}, {"n": 0.1})
    assert read_scores(write_scores({}, {}), "t") == ({}, {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut off"),
        (TENSORS[:-1], "cannot be"),
        (TENSORS + b"0", "belong to no tensor"),
        (struct.pack("<Q", 2**63) + TENSORS[8:], "does not fit"),
        (TENSORS.replace(b"F64", b"F32"), "another form"),
        (TENSORS[:-8] + struct.pack("<d", float("nan")), "NaN or infinity"),
        (TENSORS.replace(b'[\\"a\\", \\"b\\"]', b'[\\"a\\", \\"a\\"]'), "twice"),
        (TENSORS.replace(b'"shape":[2]', b'"shape":[9]'), "shape"),
    ],
)
def test_damaged_tensors_are_refused(data, reason):
    with pytest.raises(FileError, match=reason):
        read_scores(data, "t")


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: TENSORS[: len(TENSORS) - len(tail)] + tail))
def test_bytes_are_tensors_or_are_refused(data):
    said = refused(read_scores, data, "t")
    assert said.isprintable()
    assert said or math.isfinite(sum(read_scores(data, "t")[0].values()))
