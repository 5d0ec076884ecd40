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


# What the programs below begin with; {body} of program() follows.
HEAD = """
import atexit, os, sys, threading
sys.path.insert(0, %r)
import framed
from framed import held, released, same, settled, stack, start
""" % str(HERE)


def program(python, probe, body):
    """What it prints, as lines."""
    return run([python, "-c", HEAD + body, probe])[0].split("\n")


@pytest.mark.parametrize("version", PYTHONS)
def test_a_wrong_layout_is_found_out_and_does_no_harm(probe, version):
    count, *accepted = program(PYTHONS[version], probe, """
start()
accepted = framed.ctypes.create_string_buffer(1 << 16)
print(framed.HELD.probe_wrong_layouts(accepted, framed.ctypes.c_size_t(len(accepted))))
print(accepted.value.decode())
""")
    assert int(count) > 300
    # Old versions do not have them, or they only tell which frames are not functions.
    harmless = {"frame_owner", "code_first_traceable"}
    if version in ("3.9", "3.10"):
        harmless.add("code_bytecode")
    assert {row.split()[0] for row in accepted if row} <= harmless, accepted


@pytest.mark.parametrize("version", PYTHONS)
def test_what_is_said_of_locals_first_holds(probe, version):
    """Calls under way are known by it."""
    assert program(PYTHONS[version], probe, """
print(framed.HELD.probe_test())  # Python's version is not known yet
start()
print(framed.HELD.probe_test(), released() != 0)
""") == ["0", "0 True", ""]
    assert program(PYTHONS[version], probe, """
start()
print(framed.HELD.probe_test())
""") == ["1", ""]


@pytest.mark.parametrize("version", PYTHONS)
def test_nothing_is_read_once_the_interpreter_ends(probe, version):
    assert program(PYTHONS[version], probe, """
def say(what):
    print(what, len(framed.frames_of(released())))
atexit.register(say, "later")
start()
atexit.register(say, "earlier")
""") == ["earlier 1", "later 0", ""]


@pytest.mark.parametrize("version", PYTHONS)
def test_nor_when_the_program_has_cleared_its_atexit_functions(probe, version):
    assert program(PYTHONS[version], probe, """
start()
atexit._clear()
class Last:
    def __del__(self, write=os.write, released=released):
        write(1, b"%d" % (released() != 0))
last = Last()
last.__del__()
sys.keep = last  # until the modules are taken apart
""") == ["10"]


@pytest.mark.parametrize("version", PYTHONS)
def test_exit_while_threads_capture(probe, version):
    for _ in range(5):
        program(PYTHONS[version], probe, """
start()
for _ in range(3):
    threading.Thread(target=framed.PROBE.probe_forever, daemon=True).start()
class Slow:
    def __del__(self):
        for number in range(200000): str(number)
slow = Slow()
slow.itself = slow
""")


@pytest.mark.parametrize("version", PYTHONS)
def test_greenlets(probe, version):
    if PYTHONS[version].startswith(str(pythons.REPOSITORY)):
        pytest.skip("no pip in that system")
    program(pythons.python_of(version, "greenlet"), probe, """
import greenlet
start()
def nested(depth):
    if depth:
        return nested(depth - 1)
    same(stack(), released(), held())
def inner(depth):
    nested(depth)
    greenlet.getcurrent().parent.switch()
    nested(depth)
both = [greenlet.greenlet(inner) for _ in range(2)]
for _ in range(2):
    for depth, one in enumerate(both):
        one.switch(3 + depth)
    nested(1)
settled(12)
""")


@pytest.mark.parametrize("version", PYTHONS)
def test_nothing_is_resident_before_the_first_stack(probe, version):
    """Of 12 MiB; the self-test itself needs some."""
    before, after = map(int, program(PYTHONS[version], probe, """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
before = resident()
start()
print(before)
print(resident())
""")[:2])
    assert after - before < 256, "pages"
