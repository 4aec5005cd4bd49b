import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the tests that take minutes")


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
