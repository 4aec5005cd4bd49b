import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]


def pytest_addoption(parser):
    try:
        parser.addoption("--long", action="store_true", help="also the tests that take minutes")
    except ValueError:  # the integration tests, which run beside these, have it already
        pass


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: --long"))
