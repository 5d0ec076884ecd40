"""Watching functions (src/python/watch.h), on every Python of this machine, by both mechanisms: through watch_probe.c,
by the scenarios of the watch_*_scenarios.py."""

import functools
import json

import pytest
import scenarios
import watch_coroutine_scenarios  # noqa: F401  for the names of their scenarios
import watch_error_scenarios  # noqa: F401
import watch_function_scenarios  # noqa: F401
import watch_handling_scenarios  # noqa: F401
import watch_monitoring_scenarios  # noqa: F401
from programs import HERE, build_probe, run
from rig import pythons

pytestmark = pytest.mark.timeout(300)

PYTHONS = pythons.find()
MONITORED = [version for version in PYTHONS if int(version.split(".")[1]) >= 12]
MECHANISMS = [(version, "swap") for version in PYTHONS] + [(version, "monitoring") for version in MONITORED]
every_mechanism = pytest.mark.parametrize(
    "version, mechanism", MECHANISMS, ids=["%s-%s" % row for row in MECHANISMS])


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    return build_probe("watch_probe", tmp_path_factory.mktemp("probe"))


@functools.cache
def results(script, version, *arguments):
    return json.loads(run([PYTHONS[version], HERE / f"{script}.py", *arguments])[0])


@every_mechanism
@pytest.mark.parametrize("scenario", scenarios.names("watch_function_scenarios"))
def test_function(probe, version, mechanism, scenario):
    problem = results("watch_function_scenarios", version, probe, mechanism)[scenario]
    assert problem is None, problem


@every_mechanism
@pytest.mark.parametrize("scenario", scenarios.names("watch_error_scenarios"))
def test_error(probe, version, mechanism, scenario):
    problem = results("watch_error_scenarios", version, probe, mechanism)[scenario]
    assert problem is None, problem


@every_mechanism
@pytest.mark.parametrize("scenario", scenarios.names("watch_coroutine_scenarios"))
def test_coroutine(probe, version, mechanism, scenario):
    problem = results("watch_coroutine_scenarios", version, probe, mechanism)[scenario]
    assert problem is None, problem


@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("scenario", scenarios.names("watch_handling_scenarios"))
def test_handling(probe, version, scenario):
    problem = results("watch_handling_scenarios", version, probe, "swap")[scenario]
    assert problem is None, problem


@pytest.mark.parametrize("version", MONITORED)
@pytest.mark.parametrize("scenario", scenarios.names("watch_monitoring_scenarios"))
def test_monitoring(probe, version, scenario):
    problem = results("watch_monitoring_scenarios", version, probe, "monitoring", scenario)[scenario]
    assert problem is None, problem
