"""What runs share: a store that knows the gateway."""

from pathlib import Path

import pytest
from tests.simulation.run import make_template


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's file, to be copied."""
    return make_template(tmp_path_factory.mktemp("simulation"))
