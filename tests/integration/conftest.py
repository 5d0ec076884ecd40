"""What the tests of this folder share: one agent, and one run of each stand-in on each CPython, bare and
traced."""

import functools

import pytest

from rig import pythons, session
from rig.agent import Agent
from rig.stand_in import StandIn


@pytest.fixture(scope="session")
def running_agent(tmp_path_factory):
    with Agent(tmp_path_factory.mktemp("agent")) as started:
        yield started


@pytest.fixture
def agent(running_agent):
    """The one agent, with nothing of earlier tests."""
    running_agent.take_spans()
    return running_agent


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """bare(generation, version): the session (rig.session) of a stand-in without the library."""
    return functools.lru_cache(maxsize=None)(functools.partial(_run, tmp_path_factory, None))


@pytest.fixture(scope="session")
def traced(tmp_path_factory, running_agent):
    """traced(generation, version): the session with the library preloaded, and the traces that came."""

    @functools.lru_cache(maxsize=None)
    def run(generation, version):
        running_agent.take_spans()
        done = _run(tmp_path_factory, running_agent, generation, version)
        return session.collect(done, running_agent.take_spans())

    return run


def _run(tmp_path_factory, agent, generation, version):
    app = StandIn(pythons.with_pillow(version), generation)
    return session.run(app, tmp_path_factory.mktemp(generation), agent)
