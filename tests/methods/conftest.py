"""Tasks on models of every supported kind."""

import pytest

from gaugeblock.methods.task import Task
from support.tasks import COMPILED, RANDOM, compiled_task, random_task


@pytest.fixture(params=[*RANDOM, *COMPILED])
def task(request: pytest.FixtureRequest) -> Task:
    """A float64 task under resample ablation, one for each kind of model."""
    name = request.param
    return random_task(RANDOM[name]) if name in RANDOM else compiled_task(name)
