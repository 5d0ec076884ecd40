"""Python stacks read from memory (src/python/frames.h), on every Python of this machine: through frames_probe.c, by the
scenarios of frames_scenarios.py."""

import functools
import json

import frames_scenarios  # noqa: F401  for the names of its scenarios
import pytest
import scenarios
from programs import HERE, build_probe, run
from rig import pythons

pytestmark = pytest.mark.timeout(300)

PYTHONS = pythons.find()


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    return build_probe("frames_probe", tmp_path_factory.mktemp("probe"))


@functools.cache
def results(version, probe):
    return json.loads(run([PYTHONS[version], HERE / "frames_scenarios.py", probe])[0])


@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("scenario", scenarios.names("frames_scenarios"))
def test_frames(probe, version, scenario):
    problem = results(version, probe)[scenario]
    assert problem is None, problem


EXIT = """
import os, sys, threading
sys.path.insert(0, %r)
import framed
framed.start()
def capture():
    framed.PROBE.probe_forever()
for _ in range(3):
    threading.Thread(target=capture, daemon=True).start()
class Slow:
    def __del__(self):
        for number in range(200000): str(number)
slow = Slow()
slow.itself = slow
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_exit_while_threads_capture(probe, version):
    for _ in range(5):
        run([PYTHONS[version], "-c", EXIT % str(HERE), probe])
