"""What `import gaugeblock as gb` offers, and when it loads."""

import subprocess
import sys

import pytest

import gaugeblock as gb


def test_programs_work_right_after_the_import():
    code = "import gaugeblock as gb; print(gb.programs.get('sort')([3, 1, 2]), 'torch' in __import__('sys').modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 2, 3] False"


@pytest.mark.parametrize("name", gb.__all__)
def test_every_name_loads(name):
    assert getattr(gb, name) is not None
    assert name in dir(gb)


def test_names_are_no_modules_after_everything_is_imported():
    import gaugeblock.evaluation
    import gaugeblock.running.runner  # noqa: F401

    assert all(
        callable(getattr(gb, name)) for name in ("evaluate", "run", "case", "suite", "compile", "load", "method")
    )


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = gb.nothing
