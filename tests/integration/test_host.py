"""What an application with the library in it can still do: as deep recursion, worker threads that die, processes of
every kind. Each program runs workflows of a stand-in (tests/fakes/comfyui) by itself, without the server."""

import json
import os
import re
import subprocess
import uuid

import pytest
from programs import LIBRARY, REPOSITORY, environment, free_threaded, run
from rig import pythons
from rig.process import wait_for

pytestmark = pytest.mark.timeout(120)

FAKES = REPOSITORY / "tests" / "fakes" / "comfyui"
PYTHONS = pythons.find()
every_python = pytest.mark.parametrize("version", PYTHONS)
DEADLINE = 60

# Of a program that is run in a generation's folder. A stand-in writes events to standard output, so results are lines
# that begin with a word of ours.
STAND_IN = """
import json, os, sys, threading
import main, application, execution, nodes
application.configure(main.GENERATION)

def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}

def chain(count):
    prompt = {"0": node("Number", value=1)}
    for n in range(1, count - 1):
        prompt[str(n)] = node("AddOne", value=[str(n - 1), 0])
    prompt["end"] = node("Show", value=[str(count - 2), 0])
    return prompt

def result(value):
    print("result", json.dumps(value), flush=True)
"""


def results(out):
    """What a program passed to result()."""
    return [json.loads(line[len("result ") :]) for line in out.splitlines() if line.startswith("result ")]


def result_of(version, generation, program, **variables):
    (value,) = results(run([PYTHONS[version], "-c", STAND_IN + program], cwd=FAKES / generation, **variables)[0])
    return value


def bare_and_preloaded(version, generation, program):
    return (
        result_of(version, generation, program),
        result_of(version, generation, program, LD_PRELOAD=LIBRARY),
    )


# ---- recursion

LONGEST_CHAIN = """
# recursive_execute shall meet the limit, not the functions that look ahead.
execution.recursive_will_execute = lambda *_: 0
limit = sys.getrecursionlimit()

def works(count):
    try:
        executor = application.run_here(chain(count), "chain", {})
    except RecursionError:
        return False
    return len(executor.outputs) == count

working, failing = 1, 2000
while failing - working > 1:
    middle = (working + failing) // 2
    working, failing = (middle, failing) if works(middle) else (working, middle)
result([working, sys.getrecursionlimit() == limit])
"""


@every_python
@pytest.mark.parametrize("generation", ["r2", "r4"])
def test_a_chain_of_nodes_may_be_as_long_as_before(version, generation):
    bare, preloaded = bare_and_preloaded(version, generation, LONGEST_CHAIN)
    assert bare[0] > 900 and preloaded[1]
    if generation == "r2" and int(version.split(".")[1]) >= 12:
        # Errors leave its functions, so they have stubs there too, and C calls count apart.
        assert preloaded[0] > bare[0] * 0.7
    else:
        assert preloaded == bare


ENDLESS = """
class Endless(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        return self.run(value)

class Depth(nodes.Node):
    INPUTS = {"value": {}}
    reached = []

    def run(self, value):
        def descend():
            Depth.reached[-1] += 1
            descend()

        Depth.reached.append(0)
        try:
            descend()
        except RecursionError:
            return (Depth.reached[-1],)

nodes.NODE_CLASS_MAPPINGS.update(Endless=Endless, Depth=Depth)
limit = sys.getrecursionlimit()
ends = []
for class_type in ("Endless", "Depth", "Endless", "Depth"):
    executor = application.run_here({"1": node(class_type, value=1), "2": node("Show", value=["1", 0])}, "p", {})
    ends.append(executor.success)
result([ends, Depth.reached, sys.getrecursionlimit() - limit])
"""


@every_python
@pytest.mark.parametrize("generation", ["r4", "x1", "a3"])
def test_the_recursion_limit_is_in_force_in_nodes(version, generation):
    bare, preloaded = bare_and_preloaded(version, generation, ENDLESS)
    assert preloaded[0] == bare[0] == [False, True, False, True]
    assert preloaded[2] == 0
    # A watched coroutine costs up to two levels while it runs; plain functions cost none.
    allowed = 4 if generation == "a3" else 0
    assert all(0 <= b - p <= allowed for b, p in zip(bare[1], preloaded[1])), (bare, preloaded)


# ---- nothing is watched but the executor

MONITORED = """
import sys
def tools():
    return [sys.monitoring.get_tool(tool) for tool in range(6)]

def events():
    return [sys.monitoring.get_events(tool) for tool in range(6) if sys.monitoring.get_tool(tool)]

before = tools()
application.run_here(chain(5), "p", {})
application.run_here({"1": node("Fail", value=1, message="told"), "2": node("Show", value=["1", 0])}, "p", {})
own = [f.__code__ for f in vars(nodes).values() if hasattr(f, "__code__")]
own += [f.__code__ for c in nodes.NODE_CLASS_MAPPINGS.values() for f in vars(c).values() if hasattr(f, "__code__")]
result([before == tools(), events(), sum(sys.monitoring.get_local_events(5, code) for code in own)])
"""


@pytest.mark.parametrize("version", [v for v in PYTHONS if int(v.split(".")[1]) >= 12])
@pytest.mark.parametrize("generation", ["r4", "x1", "a3"])
def test_no_event_is_set_but_on_the_executor(version, generation):
    assert result_of(version, generation, MONITORED, LD_PRELOAD=LIBRARY) == [True, [0], 0]


# ---- worker threads

KILLED = """
app = application.Application(main.GENERATION)
app.worker.start()
app.enqueue({"1": node("KillWorker", value=1), "2": node("Show", value=["1", 0])}, "killed", {})
app.worker.join(60)
app.enqueue(chain(3), "never-run", {})
result(app.worker.is_alive())
sys.stdin.read()  # the spans must come while the process lives on
"""


@every_python
@pytest.mark.parametrize("generation", ["r0", "r2", "r4", "x1", "a1", "a3"])
def test_spans_come_though_the_worker_thread_has_died(agent, version, generation):
    service = str(uuid.uuid4())  # R0 is not told the prompt's id
    program = STAND_IN + KILLED
    process = subprocess.Popen(
        [PYTHONS[version], "-c", program], cwd=FAKES / generation, text=True,
        env=environment(LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url, DD_SERVICE=service),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not process.stdout.readline().startswith("result false"):
            assert process.poll() is None
        spans = wait_for("both spans", 15, lambda: two_of_service(agent, service))
        assert process.poll() is None
    finally:
        err = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 0 and "WorkerKilled: no executor catches this" in err
    workflow, killed = sorted(spans, key=lambda span: span["name"], reverse=True)
    assert workflow["meta"]["workflow.status"] == "error" and killed["parent_id"] == workflow["span_id"]
    for span in spans:
        assert span["error"] == 1 and span["meta"]["error.type"] == "nodes.WorkerKilled"
        assert span["meta"]["error.message"] == "no executor catches this"
        assert 'raise WorkerKilled("no executor catches this")' in span["meta"]["error.stack"]
    assert killed["meta"]["node.result"] == "FAILURE"


def two_of_service(agent, service):
    spans = [span for span in agent.spans() if span["service"] == service]
    return spans if len(spans) == 2 else None


# ---- no stderr

OPENS_FILE = """
name = os.environ["FILE"]
descriptor = os.open(name, os.O_CREAT | os.O_RDWR)
application.run_here(chain(3), PROMPT_ID, {})
sys.stdout.flush()
result([descriptor, os.stat(name).st_size])
"""


@every_python
def test_a_file_that_got_the_number_of_a_missing_stderr_is_left_alone(tmp_path, version):
    program = STAND_IN + OPENS_FILE.replace("PROMPT_ID", repr(str(uuid.uuid4())))
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", PYTHONS[version], "-c", program]
    out, _ = run(command, cwd=FAKES / "a3", LD_PRELOAD=LIBRARY, FILE=tmp_path / "file")
    assert results(out) == [[2, 0]]


# ---- processes

FORKED = """
application.run_here(chain(3), PROMPT_ID, {})
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    result([len(os.listdir("/proc/self/task")), sys.getrecursionlimit()])
    sys.exit(5)
result(os.waitpid(pid, 0)[1] >> 8)
import struct, subprocess
folder = os.environ["COMFYDD_FLIGHT_FOLDER"]
(name,) = os.listdir(folder)
clean_exit = struct.calcsize("<Q II Q II II I III QQ i")  # its place: rig/flight.py
read = ["od", "-An", "-tu4", "-j", str(clean_exit), "-N4", os.path.join(folder, name)]
result(int(subprocess.check_output(read)))
"""


@every_python
def test_a_fork_that_runs_no_workflow_does_nothing(agent, version):
    prompt_id = str(uuid.uuid4())
    out, err = run([PYTHONS[version], "-c", f"PROMPT_ID = {prompt_id!r}" + STAND_IN + FORKED], cwd=FAKES / "a3",
                   LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url)
    assert results(out) == [[1, 1000], 5, 0]  # the parent has not said goodbye yet
    assert err.count("comfydd: ") == 1  # that nodes are instrumented
    assert len([span for span in agent.spans() if span["meta"].get("workflow.prompt_id") == prompt_id]) == 4


MULTIPROCESSING = """
import multiprocessing, sys
sys.path[0:0] = PATHS

def work(prompt_id):
    import main, application
    application.configure(main.GENERATION)
    prompt = {"1": {"class_type": "Number", "inputs": {"value": 1}},
              "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}}}
    application.run_here(prompt, prompt_id, {})
    return prompt_id

if __name__ == "__main__":
    work(PROMPT_ID + "-before")
    for way in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(way)
        with context.Pool(2) as pool:
            ids = ["%s-%s-%d" % (PROMPT_ID, way, n) for n in range(4)]
            assert pool.map(work, ids) == ids
            pool.close()
            pool.join()
        work("%s-after-%s" % (PROMPT_ID, way))
"""


@every_python
def test_workflows_in_processes_of_multiprocessing(agent, tmp_path, version):
    prompt_id = str(uuid.uuid4())
    paths = [str(FAKES / "a3"), str(FAKES / "common")]
    (tmp_path / "program.py").write_text(
        f"PROMPT_ID, PATHS = {prompt_id!r}, {paths!r}\n" + MULTIPROCESSING)
    run([PYTHONS[version], "program.py"], cwd=tmp_path, LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url)
    mine = [span for span in agent.spans() if span["meta"].get("workflow.prompt_id", "").startswith(prompt_id)]
    wanted = [f"{prompt_id}-{way}-{n}" for way in ("fork", "spawn", "forkserver") for n in range(4)]
    wanted += [f"{prompt_id}-after-{way}" for way in ("fork", "spawn", "forkserver")] + [f"{prompt_id}-before"]
    assert sorted(span["meta"]["workflow.prompt_id"] for span in mine) == sorted(wanted * 3)
    assert len({span["trace_id"] for span in mine}) == len(wanted)
    assert len({span["span_id"] for span in mine}) == len(mine)


# ---- Pythons of another kind, and how the library is linked

def test_a_free_threaded_build_is_left_alone(tmp_path):
    python, preload = pythons.shared(), f"{free_threaded(tmp_path)}:{LIBRARY}"
    program = STAND_IN + """
application.run_here(chain(3), "p", {})
names = [type(finder).__name__ for finder in sys.meta_path]
stubs = [f.__code__.co_name for f in (execution.execute, execution.PromptExecutor.execute_async)
         if any(type(c) is type(len) for c in f.__code__.co_consts)]
result(["SimpleNamespace" in names, stubs])
"""
    out, err = run([python, "-c", program], cwd=FAKES / "a3", LD_PRELOAD=preload)
    assert results(out) == [[False, []]]
    assert err.splitlines() == ["comfydd: if this is ComfyUI, its workflows are not traced: this Python is a free-threaded "
                                "build; use one with a GIL"]
    assert run([python, "-c", "import json"], LD_PRELOAD=preload) == ("", "")  # no ComfyUI


@every_python
def test_every_name_may_be_bound_at_start(agent, version):
    """The loader then looks up all the weak names, of newer Pythons too."""
    prompt_id = str(uuid.uuid4())
    run([PYTHONS[version], "-c", STAND_IN + f"application.run_here(chain(3), {prompt_id!r}, {{}})"], cwd=FAKES / "a3",
        LD_PRELOAD=LIBRARY, LD_BIND_NOW="1", DD_TRACE_AGENT_URL=agent.url)
    assert len(agent.trace(prompt_id).nodes) == 3


def test_names_are_bound_when_they_are_needed():
    """In every child process each weak name would be a search through all of its libraries."""
    dynamic = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert "BIND_NOW" not in dynamic and "Flags: NOW" not in dynamic


# ---- what the exporter's thread does for the executor's

EXPORTER = """
import glob, time

def exporter():
    for task in glob.glob("/proc/self/task/*"):
        if open(task + "/comm").read() == "comfydd-export\\n":
            return task

def reads(task):
    return int(open(task + "/io").read().split("syscr:")[1].split()[0])

def resident():
    sizes = {}
    for line in open("/proc/self/smaps"):
        words = line.split()
        if not words[0].endswith(":"):
            flight = "comfydd" in line and words[1] == "rw-s"
        elif flight and words[0] in ("Size:", "Rss:"):
            sizes[words[0]] = sizes.get(words[0], 0) + int(words[1])
    return sizes.get("Size:", 0) > 0 and sizes["Size:"] == sizes["Rss:"]

def per_second(until):
    before, since = reads(task), time.monotonic()
    while not until(time.monotonic() - since):
        application.run_here(chain(20), "chain", {})
    return (reads(task) - before) / (time.monotonic() - since)

application.run_here(chain(20), "chain", {})
deadline, fastest = time.monotonic() + 40, 0
while not (task := exporter()) and time.monotonic() < deadline:  # it names itself
    time.sleep(0.01)
while not resident() and time.monotonic() < deadline:
    time.sleep(0.01)
while fastest < 40 and time.monotonic() < deadline:
    fastest = max(fastest, per_second(lambda seconds: seconds > 0.5))
result([resident(), fastest])
"""


def has_populate_write():
    """madvise(MADV_POPULATE_WRITE), from Linux 5.14 on."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(re.match(r"\d+", minor)[0])) >= (5, 14)


@pytest.mark.skipif(not has_populate_write(), reason="this kernel cannot map pages ahead")
def test_the_exporters_thread_maps_flight_memory_and_samples_memory():
    """Which the executor's thread would otherwise do between nodes: page faults, and /proc (one sample takes several reads; the
    sign of life, once a second, takes as many)."""
    newest = sorted(PYTHONS, key=lambda version: int(version.split(".")[1]))[-1]
    resident, reads_per_second = result_of(newest, "a3", EXPORTER, LD_PRELOAD=LIBRARY)
    assert resident
    assert reads_per_second >= 40
