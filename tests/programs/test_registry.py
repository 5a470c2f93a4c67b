"""Programs by name."""

import pickle
import subprocess
import sys
from typing import Any

import pytest

from gaugeblock import programs
from gaugeblock.programs import SOp
from gaugeblock.programs.errors import GaugeblockError, ProgramError, UnknownName


def test_names_lead_to_programs_of_that_name() -> None:
    for name in programs.names(collections=True):
        assert programs.get(name).name == name
    assert {"frac_prevs", "sort", "dyck1", "dyck2", "dyck3", "shuffle_dyck1", "add"} <= set(programs.names())


def test_a_collections_name_brings_its_alphabet() -> None:
    assert programs.get("rasp.sort_int").vocab == tuple(range(-3, 9))
    assert programs.get("rasp.sort_int")([3, -2, 8, -3]) == [-3, -2, 3, 8]


@pytest.mark.parametrize(
    ("given", "nearest"), [("srot", "sort"), ("dick2", "dyck2"), ("rasp.sort_ints", "rasp.sort_int")]
)
def test_an_unknown_name_is_answered_with_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"no program is named '{given}'.*{nearest}"):
        programs.get(given)
    with pytest.raises(GaugeblockError) as raised:
        programs.get(given)
    assert type(pickle.loads(pickle.dumps(raised.value))) is UnknownName
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_of_many_names_only_the_nearest_are_listed() -> None:
    with pytest.raises(UnknownName, match=r"no program is named 'qqqq'; the nearest of the \d+ there are: ") as raised:
        programs.get("qqqq")
    assert len(str(raised.value).partition("are: ")[2].split(", ")) == 10
    assert str(UnknownName("fruit", "qqqq", ["pear", "fig"])) == "no fruit is named 'qqqq'; known: fig, pear"


def test_arguments_are_part_of_a_name() -> None:
    third = programs.get("kth_largest(k=3)")
    assert third.name == "kth_largest(k=3)"
    assert third([5, 1, 4, 2])[0] == 2
    assert programs.get(third.name).arguments == {"k": 3}
    for wrong, said in (
        ("kth_largest(k=)", "is no program with arguments; write them as in"),
        ("kth_largest(3)", "is no program with arguments"),
        ("kth_largest(k=print)", "is no program with arguments"),
        ("kth_largest(n=3)", "has no argument 'n'; its arguments: k"),
        ("kth_larges(k=3)", "did you mean kth_largest"),
    ):
        with pytest.raises(GaugeblockError, match=said):
            programs.get(wrong)


def test_registering() -> None:
    @programs.register
    @programs.program(vocab="ab", max_len=4)
    def is_a(tokens: SOp, indices: SOp) -> Any:
        """Where the token is a."""
        return tokens == "a"

    assert programs.get("is_a") is is_a
    assert programs.names()[-1] == "is_a"
    for taken in (is_a, programs.get("sort"), programs.get("rasp.sort")):
        with pytest.raises(ProgramError, match=f"'{taken.name}' already"):
            programs.register(taken)


def test_the_library_is_imported_on_first_use() -> None:
    code = (
        "import sys, gaugeblock.programs as p; order = 'gaugeblock.programs.library.order'; "
        "before = order in sys.modules; p.get('sort'); "
        "print(before, order in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
