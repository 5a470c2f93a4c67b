from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """As a user runs the code: the functions' own messages, not jaxtyping's, meet a wrong shape."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
