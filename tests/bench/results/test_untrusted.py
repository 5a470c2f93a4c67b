"""What somebody else has written is read with care: strict JSON, plain files of possible size, and inert texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.programs.errors import FileError
from gaugeblock.results.untrusted import printable, quoted, read_bytes, strict_json
from support.submissions import refused


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_strict_json_is_json_or_is_refused(text):
    data = text.encode("utf-8", "surrogatepass")
    said = refused(strict_json, data, "t")
    assert said.isprintable()
    assert said or strict_json(data, "t") == json.loads(text)


def test_only_plain_files_of_possible_size_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, largest=5) == b"12345"
    (tmp_path / "link").symlink_to(path)
    for other, reason in ((tmp_path / "link", "link"), (tmp_path, "plain|directory"), (tmp_path / "none", "No such")):
        with pytest.raises(FileError, match=reason):
            read_bytes(other)
    with pytest.raises(FileError, match="'mine' has more than 4 bytes"):
        read_bytes(path, "mine", largest=4)


@given(st.text(), st.integers(0, 100))
def test_foreign_texts_are_shown_inert(text, longest):
    assert printable(text, kept="").isprintable()
    assert len(printable(text, longest)) == min(len(text), longest)
    assert quoted(text).isprintable()
    assert len(quoted(text)) <= 80
