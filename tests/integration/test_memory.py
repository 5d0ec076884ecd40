"""The application's memory and descriptors: what it gives up is free at the same moment as without the library, and
nothing grows with the number of workflows."""

import functools
import json
import subprocess
import xml.etree.ElementTree

import pytest
from programs import HERE, LIBRARY, REPOSITORY, environment, run
from rig import pythons

FAKES = REPOSITORY / "tests" / "fakes" / "comfyui"
PYTHONS = pythons.find()
every_python = pytest.mark.parametrize("version", PYTHONS)


def results(out):
    return [json.loads(line[len("result ") :]) for line in out.splitlines() if line.startswith("result ")]


def result_of(version, generation, program, **variables):
    """What the program passes to result()."""
    command = [PYTHONS[version], "-c", "from stand_in_program import *\n" + program]
    (value,) = results(run(command, cwd=FAKES / generation, PYTHONPATH=HERE, **variables)[0])
    return value


LIFETIMES = """
import gc, sys, weakref

class Tensor:
    pass

class Extra(dict):
    pass

class Killed(BaseException):
    pass

alive = {}

def tensor(name):
    value = Tensor()
    alive[name] = weakref.ref(value)
    return value

class Make(nodes.Node):
    def run(self):
        local = tensor("local")
        return (tensor("output"),)

class Use(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        local = tensor("local of the one that fails")
        if FAILS:
            raise FAILS("told")
        return (tensor("second output"),)

nodes.NODE_CLASS_MAPPINGS.update(Make=Make, Use=Use)
gc.collect()
gc.disable()
prompt, extra = {"1": node("Make"), "2": node("Use", value=["1", 0]), "3": node("Show", value=["2", 0])}, Extra()
server = application.http.PromptServer()
executor = main.GENERATION.create_executor(server)
alive.update(executor=weakref.ref(executor), server=weakref.ref(server), extra=weakref.ref(extra))
item = application._item(main.GENERATION, 0, prompt, "prompt", extra)
try:
    main.GENERATION.run(executor, item)
except (ValueError, Killed):
    pass
still = [{name: reference() is not None for name, reference in alive.items()}]
gc.collect()  # of the cycles that an exception makes with its frames
counts = [sys.getrefcount(thing) for thing in (prompt, extra, executor, server, item)]
del executor, server, extra, item, prompt
still.append({name: reference() is not None for name, reference in alive.items()})
result([still, counts])
"""


@every_python
@pytest.mark.parametrize("fails", ["None", "ValueError", "Killed"])
@pytest.mark.parametrize("generation", ["r2", "r4", "x1", "a3"])
def test_objects_live_as_long_as_without_the_library(version, generation, fails):
    program = LIFETIMES.replace("FAILS", fails)
    bare = result_of(version, generation, program)
    assert result_of(version, generation, program, LD_PRELOAD=LIBRARY) == bare


GROWTH = """
import ctypes, gc, logging, os, sys
logging.disable()

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2

def measure():
    for _ in range(3):
        gc.collect()
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "python blocks": sys.getallocatedblocks(),
        "malloc bytes": libc.mallinfo2().uordblks + libc.mallinfo2().hblkhd,
        "resident bytes": resident,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }

run(2 * WORKFLOWS)  # the ring of spans is full by then, and buffers have their size
measures = [measure()]
for _ in range(2):
    run(WORKFLOWS)
    measures.append(measure())
result({name: min(after[name] - before[name] for before, after in zip(measures, measures[1:])) for name in measures[0]})
"""
WORKFLOWS = 1000


@functools.cache
def growth(version, generation, **variables):
    """From one run to the next; of two such, the least: a buffer may become larger once."""
    return result_of(version, generation, f"WORKFLOWS = {WORKFLOWS}\n" + GROWTH, **variables)


@every_python
@pytest.mark.timeout(300)
@pytest.mark.parametrize("generation, reachable", [("r4", False), ("a3", True)], ids=["r4-no-agent", "a3-agent"])
def test_nothing_grows_with_the_number_of_workflows(agent, version, generation, reachable):
    bare = growth(version, generation)
    url = agent.url if reachable else "http://127.0.0.1:1"
    traced = growth(version, generation, LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=url)
    if reachable:
        agent.take_spans()
    more = {name: traced[name] - bare[name] for name in traced}
    assert more["python blocks"] < WORKFLOWS / 4, more  # those of asyncio alone go up and down by a hundred
    # A kept workflow would be more than 1000 bytes, a kept node more than 60.
    assert more["malloc bytes"] < WORKFLOWS * 50, more
    assert more["resident bytes"] < 1 << 20, more
    assert more["descriptors"] <= 1 and more["threads"] <= 0, more  # a connection to the agent may be open


def errors_of_ours(version, generation, count, report, agent):
    """What memcheck says of stacks with the library in them: (errors, bytes definitely lost)."""
    program = f"from stand_in_program import *\nrun({count})"
    subprocess.run(
        ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=40", "--xml=yes"]
        + [f"--xml-file={report}", PYTHONS[version], "-c", program],
        env=environment(LD_PRELOAD=LIBRARY, PYTHONMALLOC="malloc", PYTHONPATH=HERE, DD_TRACE_AGENT_URL=agent.url),
        cwd=FAKES / generation, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=400)
    errors, lost = [], 0
    for error in xml.etree.ElementTree.parse(report).iter("error"):
        text = xml.etree.ElementTree.tostring(error, "unicode")
        if LIBRARY.name not in text:
            continue
        if error.findtext("kind").startswith("Leak_"):
            lost += int(error.findtext("xwhat/leakedbytes"))
        else:
            errors.append(text)
    return errors, lost


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version, generation", [("3.9", "r2"), ("3.11", "a3"), ("3.13", "x1")])
def test_valgrind(agent, tmp_path, version, generation):
    if version not in PYTHONS:
        pytest.skip(f"no Python {version} on this machine")
    errors, lost = errors_of_ours(version, generation, 12, tmp_path / "some.xml", agent)
    assert not errors, errors[0]
    errors, lost_by_more = errors_of_ours(version, generation, 48, tmp_path / "more.xml", agent)
    assert not errors and lost_by_more <= lost, (lost, lost_by_more)
