"""One start of the real servers for the whole session; every test has a tenant, a schema or a topic of its own."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_randomly
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from core.config import Endpoints, Fetching, Settings
from pipelines.dagster.runtime import Runtime
from tests.tenant_fixture import Inlet, World

# real servers answer when they answer: a deadline would test the machine. The seed is pytest-randomly's.
hypothesis_settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
hypothesis_settings.load_profile("headrace")


def _seed_torch(seed: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


# in place of thinc's, which imports torch into every process of every run, before the first test
pytest_randomly.entrypoint_reseeds = [_seed_torch]

_numbers = itertools.count(1)

STARTS_SERVERS = {"endpoints", "own", "own_records"}
"""Fixtures that start servers; a test that needs one of them is marked `servers`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STARTS_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The embedded servers in a folder of this session, with every default, and one folder that content may be fetched from."""
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        del os.environ[name]
    return Settings(data_dir=tmp_path_factory.mktemp("headrace"), fetching=Fetching(roots=(tmp_path_factory.mktemp("inbox"),)))


@pytest.fixture(scope="session")
def endpoints(settings: Settings) -> Iterator[Endpoints]:
    import services
    from core.schema.migrate import migrate

    found = services.up(settings)
    try:
        migrate(found.postgres_owner.get_secret_value())
        yield found
    finally:
        services.down(settings)


@pytest.fixture(scope="session")
def app(settings: Settings, endpoints: Endpoints) -> Iterator[Runtime]:
    """Headrace in one process, its models warm for the whole session."""
    with Runtime(settings, endpoints) as runtime:
        yield runtime


@pytest.fixture
def tenant() -> str:
    """A name that no other test uses."""
    return f"t{next(_numbers)}-{os.getpid()}"


@pytest.fixture
def new_tenant(app: Runtime) -> Callable[[], str]:
    """Makes tenants with their roles, partitions, keys and topics."""
    from pipelines.governance.tenants import add

    def make() -> str:
        name = f"n{next(_numbers)}-{os.getpid()}"
        add(app, name)
        return name

    return make


@pytest.fixture
def acme(new_tenant: Callable[[], str]) -> str:
    return new_tenant()


@pytest.fixture
def globex(new_tenant: Callable[[], str]) -> str:
    return new_tenant()


@pytest.fixture(scope="module")
def world(app: Runtime, request: pytest.FixtureRequest) -> World:
    """A tenant of this test file's own, and its rows."""
    from pipelines.governance.tenants import add

    name = f"w{next(_numbers)}-{os.getpid()}"
    add(app, name)
    return World(app, name)


@pytest.fixture
def empty_world(world: World) -> None:
    """For `pytestmark`, in files whose every test begins with nothing."""
    world.clear()


@pytest.fixture
def inlet(world: World) -> Inlet:
    return world.inlet()


@pytest.fixture(scope="session")
def here() -> Path:
    """The project's root."""
    return Path(__file__).parent.parent
