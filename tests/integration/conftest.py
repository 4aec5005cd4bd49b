import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import engines  # noqa: E402
import harness  # noqa: E402
from postgres import Cluster, empty, installed  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the tests that take minutes")
    parser.addoption("--database", choices=engines.NAMES,
                     help="which database gateways have where a test names none; not given: none, and those marked `database` with each")


def pytest_generate_tests(metafunc):
    if "engine" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--database")
    wanted = [chosen] if chosen else engines.NAMES if metafunc.definition.get_closest_marker("database") else ["none"]
    if list(wanted) != ["none"]:
        metafunc.parametrize("engine", wanted, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def engine_session(request):
    """Worlds that several tests share are made before any of these begins."""
    session = engines.Session()
    chosen = request.config.getoption("--database")
    session.given = session.engine(chosen) if chosen not in (None, "none") else None
    engines.give(session.given)
    yield session
    session.close()


@pytest.fixture(autouse=True)
def engine(request, engine_session):
    """The database of this test's gateways: `--database`."""
    name = getattr(request, "param", "none")
    if name == "postgres":
        installed()
    given = engine_session.engine(name) if name != "none" else None
    engines.give(given)
    yield name
    engines.give(engine_session.given)
    if given is not None:
        given.drop()


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL that a file's tests share; what is in it they empty() themselves."""
    installed()
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def own_cluster():
    """A PostgreSQL of a test's own."""
    installed()
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def database(cluster):
    """The file's PostgreSQL, empty; a test that lets it stand still need not have it go on."""
    yield empty(cluster)
    cluster.send(signal.SIGCONT)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Where an empty database is, once of each engine."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/tranche.db"
    return empty(request.getfixturevalue("cluster")).url


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="takes minutes: --long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_sim(tmp_path_factory):
    sim = harness.Sim(tmp_path_factory.mktemp("sim"), harness.sim_config())
    yield sim
    code = sim.stop()
    assert not harness.SANITIZER.search(sim.log), sim.log
    assert code == 0, sim.log


@pytest.fixture
def sim(shared_sim):
    """The common world, empty."""
    shared_sim.reset()
    return shared_sim


@pytest.fixture
def make_sim(tmp_path):
    """A world of one's own: make_sim(config)."""
    made = []

    def make(config):
        made.append(harness.Sim(tmp_path, config))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert not harness.SANITIZER.search(one.log), one.log


@pytest.fixture
def start(tmp_path, request):
    """start(config, ...) -> a running gateway, which has to end cleanly after the test."""
    made = []

    def make(config=None, sim=None, **kw):
        gateway = harness.Gateway(tmp_path, config, **kw)
        made.append((gateway, sim))
        return gateway

    yield make
    problems = []
    for gateway, its_sim in made:
        try:
            gateway.finish(its_sim)
        except AssertionError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


@pytest.fixture
def gateway(start, sim):
    """Balancing over three Azure deployments of the common world."""
    return start(harness.balanced_config(sim), sim=sim)


@pytest.fixture
def direct(start, sim):
    """No balancing: one Azure resource and one OpenAI project of the common world."""
    return start(harness.direct_config(sim), sim=sim)
