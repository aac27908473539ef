"""A chain for each module, on the session's broker."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.process_chain import Chain, until


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, mosquitto: Any) -> Iterator[Chain]:
    """A running chain for one module; ended in good order, and looked at for tracebacks."""
    chain = Chain(tmp_path_factory.mktemp("chain"), mosquitto.port)
    try:
        chain.start_cloud()
        chain.start_edge()
        yield chain
        chain.stop()
    finally:
        for process in chain.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """`until(condition, what, wait_s=…)` for tests."""
    return until
