"""Where trainings of these tests run."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Accelerate takes no accelerator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "1")
        yield
