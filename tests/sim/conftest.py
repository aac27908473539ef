"""What the simulator's tests share."""

import pytest
from tests.sim.honest_platform import Platform


@pytest.fixture
def platform() -> Platform:
    """Not started yet: `running` starts it inside the test's event loop."""
    return Platform()
