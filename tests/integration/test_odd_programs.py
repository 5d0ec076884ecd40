"""Programs that do with the executor what ComfyUI itself does not: run prompts inside of prompts, bring objects of their own
kind, end while a workflow runs. They go on as without us, and what the spans say is true."""

import json
import re
import shutil

import pytest
from programs import HERE, LIBRARY, REPOSITORY, run
from rig import pythons, session

pytestmark = pytest.mark.timeout(120)

FAKES = REPOSITORY / "tests" / "fakes" / "comfyui"
PYTHONS = pythons.find()
every_python = pytest.mark.parametrize("version", PYTHONS)
ends = pytest.mark.parametrize("version", sorted({list(PYTHONS)[0], list(PYTHONS)[-1]}))


def results(version, generation, program, code=0, **variables):
    """What the program passes to result()."""
    command = [PYTHONS[version], "-c", "from stand_in_program import *\n" + program]
    out, _ = run(command, code, cwd=FAKES / generation, PYTHONPATH=HERE, LD_PRELOAD=LIBRARY, **variables)
    return [json.loads(line[len("result ") :]) for line in out.splitlines() if line.startswith("result ")]


def traces(agent, version, generation, program, *jobs):
    """The traces of these jobs, which the program runs."""
    results(version, generation, program, DD_TRACE_AGENT_URL=agent.url)
    spans = agent.take_spans()
    return [session.of_job(spans, job) for job in jobs]


# ---- executors

INNER_FUNCTION = "    lambda: (current_item, prompt_id, executed, dynprompt, extra_data)\n"


@pytest.mark.parametrize("generation", ["x1", "a3"])
@every_python
def test_an_executor_whose_inner_functions_use_its_arguments(agent, version, generation, tmp_path):
    folder = shutil.copytree(FAKES, tmp_path / "comfyui") / generation
    source = (folder / "execution.py").read_text()
    changed, times = re.subn(r"(?ms)^((?:async )?def execute\(.*?\)(?: -> .*?)?:\n)", r"\1" + INNER_FUNCTION, source, count=1)
    assert times == 1
    (folder / "execution.py").write_text(changed)
    program = "from stand_in_program import *\napplication.run_here(chain(4), 'shared', {'job_id': 'shared'})"
    variables = dict(PYTHONPATH=HERE, LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url)
    run([PYTHONS[version], "-c", program], 0, cwd=folder, **variables)
    trace = session.of_job(agent.take_spans(), "shared")
    assert [span["meta"]["node.id"] for span in trace.nodes] == ["0", "1", "2", "end"]
    assert [span["resource"] for span in trace.nodes] == ["Number", "AddOne", "AddOne", "Show"]
    assert {span["meta"]["node.result"] for span in trace.nodes} == {"SUCCESS"}


# ---- ids

# As long loops made of expansions have them: each turn's nodes stand under those of the turn before.
LONG_IDS = """
turn = "1" + ".0.0.Recurse" * %d
ids = [turn + ".0.0." + end for end in ("1", "2", "3")]
prompt = {ids[0]: node("Number", value=1), ids[1]: node("AddOne", value=[ids[0], 0]),
          ids[2]: node("AddOne", value=[ids[1], 0]), "end": node("Show", value=[ids[2], 0])}
application.run_here(prompt, "loop", {"job_id": "loop"})
"""


@pytest.mark.parametrize("turns", [30, 1000])
@pytest.mark.parametrize("generation", ["r4", "a3"])
@ends
def test_nodes_whose_ids_differ_at_the_end_only(agent, version, generation, turns):
    (trace,) = traces(agent, version, generation, LONG_IDS % turns, "loop")
    assert sorted(span["resource"] for span in trace.nodes) == ["AddOne", "AddOne", "Number", "Show"]
    assert trace.root["metrics"]["workflow.nodes.executed"] == 4
    if turns == 30:  # a thousand do not fit into a tag
        assert len({span["meta"]["node.id"] for span in trace.nodes}) == 4


LOOP = """
from comfy_execution.graph_utils import GraphBuilder
sys.setrecursionlimit(10000)

class Loop(nodes.Node):
    INPUTS = {"turns": {}}

    def run(self, turns):
        graph = GraphBuilder()
        value = graph.node("Number", value=turns)
        last = graph.node("Loop", "Recurse", turns=turns - 1) if turns > 1 else graph.node("AddOne", value=[value, 0])
        both = graph.node("AddOne", a=[value, 0], b=[last, 0])
        return {"result": ([both, 0],), "expand": graph.finalize()}

nodes.NODE_CLASS_MAPPINGS.update(Loop=Loop)
application.run_here({"1": node("Loop", turns=TURNS), "2": node("Show", value=["1", 0])}, "loop", {"job_id": "loop"})
"""


@pytest.mark.parametrize("generation", ["x1", "a3"])
@ends
def test_a_loop_made_of_expansions(agent, version, generation):
    turns = 100
    (trace,) = traces(agent, version, generation, LOOP.replace("TURNS", str(turns)), "loop")
    ids = {span["meta"]["node.id"]: span for span in trace.nodes}
    assert len(trace.nodes) == len(ids) == trace.root["metrics"]["workflow.nodes.total"] == 3 * turns + 2
    assert {span["meta"]["node.result"] for span in trace.nodes} == {"SUCCESS"}
    for node_id, span in ids.items():
        parent_id, dot, _ = node_id.rpartition(".0.0.")
        assert span["meta"].get("node.parent_id", "") == parent_id
        assert span["metrics"]["node.executions"] == (2 if span["resource"] == "Loop" else 1)
        assert span["meta"].get("node.display_id") == ("1" if dot else None)


COPY_ON_WRITE = """
from comfy_execution import dynprompt

add = dynprompt.DynamicPrompt.add_ephemeral_node

def add_to_copies(self, *arguments):
    for name in ("ephemeral_prompt", "ephemeral_parents", "ephemeral_display"):
        setattr(self, name, dict(getattr(self, name)))
    add(self, *arguments)

dynprompt.DynamicPrompt.add_ephemeral_node = add_to_copies
prompt = {"1": node("Number", value=1), "2": node("Expand", value=["1", 0]), "3": node("Show", value=["2", 0])}
application.run_here(prompt, "copies", {"job_id": "copies"})
"""


@pytest.mark.parametrize("generation", ["x1", "a3"])
@ends
def test_a_graph_that_is_copied_when_it_grows(agent, version, generation):
    (trace,) = traces(agent, version, generation, COPY_ON_WRITE, "copies")
    inside = [span["meta"] for span in trace.nodes if span["meta"]["node.id"].startswith("2.")]
    assert inside and all(meta["node.class_type"] and meta["node.parent_id"] == "2" for meta in inside)


LAZY_TWINS = """
prompt = {"1": node("Number", value=1), "2": node("Number", value=5), "show": node("Show", a=["3", 0], b=["4", 0])}
for twin in "34":
    prompt[twin] = node("LazySwitch", choice=["1", 0], first=["2", 0], second=["2", 0])
application.run_here(prompt, "twins", {"job_id": "twins"})
"""


@pytest.mark.parametrize("generation", ["x1", "a3"])
@ends
def test_a_lazy_node_that_finds_its_twins_result(agent, version, generation):
    """It was entered, and asked for an input; when that is there, so is its own result, from another node."""
    (trace,) = traces(agent, version, generation, LAZY_TWINS, "twins")
    twins = [span for span in trace.nodes if span["resource"] == "LazySwitch"]
    assert sorted(span["meta"].get("node.cached", "executed") for span in twins) == ["executed", "true"]
    assert trace.root["metrics"]["workflow.nodes.cached"] == 1 and trace.root["metrics"]["workflow.nodes.executed"] == 4


EXECUTED_AGAIN = """
sys.argv.append("--cache-none")
turns = []

class SecondTimeFails(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        turns.append(value)
        if len(turns) > 1:
            raise ValueError("the second time")
        return (value,)

nodes.NODE_CLASS_MAPPINGS.update(SecondTimeFails=SecondTimeFails)

def asked_late(job, *node_1):
    application.run_here(
        {"0": node("Number", value=1), "1": node(*node_1, value=["0", 0]), "2": node("Show", value=["1", 0]), "3": node("AddOne", value=["1", 0]),
         "4": node("LazySwitch", choice=["3", 0], first=["3", 0], second=["1", 0]), "5": node("Show", value=["4", 0])},
        job, {"job_id": job})

asked_late("plain", "AddOne")
asked_late("expanding", "Expand")
asked_late("failing", "SecondTimeFails")
"""


NEVER_CACHED = """
from comfy_execution.graph import ExecutionList
ExecutionList.is_cached = lambda self, node_id: False
"""


@pytest.mark.parametrize("generation", ["a2", "a3"])
@ends
def test_a_node_whose_result_is_handed_out_again(agent, version, generation):
    """As above, with a cache, and a list that asks for what is there: the node's function is called, but not the node."""
    handed_out = EXECUTED_AGAIN.replace('sys.argv.append("--cache-none")', NEVER_CACHED)
    plain, *_ = traces(agent, version, generation, handed_out, "plain", "expanding", "failing")
    assert [span["metrics"]["node.executions"] for span in plain.nodes if span["meta"]["node.id"] == "1"] == [1]
    assert plain.root["metrics"]["workflow.nodes.total"] == len(plain.nodes)


@pytest.mark.parametrize("generation", ["a2", "a3"])
@ends
def test_a_node_that_is_executed_again(agent, version, generation):
    """Without a cache, since another node asks for it late: expands again, or fails then."""
    jobs = ["plain", "expanding", "failing"]
    plain, expanding, failing = traces(agent, version, generation, EXECUTED_AGAIN, *jobs)

    def executed(trace, node_id):
        spans = [span for span in trace.nodes if span["meta"]["node.id"] == node_id]
        return [(span["meta"]["node.result"], span["metrics"]["node.executions"]) for span in spans]

    assert executed(plain, "1") == [("SUCCESS", 1)] * 2
    assert executed(expanding, "1") == [("SUCCESS", 2)] * 2
    assert executed(failing, "1") == [("SUCCESS", 1), ("FAILURE", 1)]
    assert failing.nodes[-1]["meta"]["error.message"] == "the second time"
    for trace in (plain, expanding, failing):
        assert trace.root["metrics"]["workflow.nodes.total"] == len(trace.nodes)
        assert all(span["metrics"]["node.active_ms"] <= span["duration"] / 1e6 + 0.001 for span in trace.nodes)
    again = [span for span in expanding.nodes if span["meta"]["node.id"] == "1"][1]
    inside = [span for span in expanding.nodes if span["meta"].get("node.parent_id") == "1" and span["start"] > again["start"]]
    assert inside


RAISES = """
class AcceleratorError(RuntimeError):
    __module__ = "torch"

class Raise(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        raise error

nodes.NODE_CLASS_MAPPINGS.update(Raise=Raise)
for n, error in enumerate([
        AcceleratorError("CUDA error: out of memory\\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA driver error: out of memory"),
        AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("out of patience"),
        KeyError("error: out of memory")]):
    application.run_here({"1": node("Raise")}, str(n), {"job_id": str(n)})
"""


@pytest.mark.parametrize("generation", ["r4", "a3"])
@ends
def test_what_is_called_an_out_of_memory(agent, version, generation):
    """PyTorch has an exception for it only where its allocators notice."""
    found = traces(agent, version, generation, RAISES, *"01234")
    types = ["OutOfMemoryError"] * 2 + ["torch.AcceleratorError", "builtins.RuntimeError", "builtins.KeyError"]
    for trace, wanted in zip(found, types):
        assert [span["meta"]["error.type"] for span in (trace.root, *trace.nodes)] == [wanted] * 2


# ---- the queue

QUEUED = """
import time
app = application.Application(main.GENERATION)
app.enqueue(chain(3), "twice", {"job_id": "twice"})
time.sleep(0.3)
app.enqueue(chain(3), "twice", {"job_id": "twice again"})
for n in range(500):
    app.enqueue(chain(3), "prompt %d" % n, {"job_id": str(n)})
app.worker.start()
while len(app.queue.history) < 501:
    assert app.worker.is_alive()
    time.sleep(0.01)

silent = application.Application(main.GENERATION)
for n in range(10001):
    silent.enqueue({}, "silent %d" % n, {})
for n in (0, 1):
    application.run_here(chain(3), "silent %d" % n, {"job_id": "silent %d" % n})
"""


@ends
def test_many_prompts_wait(agent, version):
    """R4's server does not say when it was given them."""
    jobs = ["silent 0", "silent 1", "twice", "twice again", *map(str, range(500))]
    forgotten, *known = [trace.root["metrics"] for trace in traces(agent, version, "r4", QUEUED, *jobs)]
    assert "workflow.queue_wait_ms" not in forgotten
    waits = [metrics["workflow.queue_wait_ms"] for metrics in known[1:]]
    assert known[0]["workflow.queue_wait_ms"] > 0
    assert waits[0] > waits[1] and min(waits) > 0


CREATED = """
import time
now = int(time.time() * 1000)
for job, when in ("before", now - 5000), ("text", str(now - 5000)), ("later", now + 100_000), ("never", 0), ("odd", [now]):
    application.run_here(chain(3), job, {"job_id": job, "create_time": when})
"""


@ends
def test_a_wait_is_known_from_the_server_too(agent, version):
    """Where nobody saw the prompt being queued."""
    before, text, *others = traces(agent, version, "a3", CREATED, "before", "text", "later", "never", "odd")
    assert all(5000 <= trace.root["metrics"]["workflow.queue_wait_ms"] < 65_000 for trace in (before, text))
    assert not any("workflow.queue_wait_ms" in trace.root["metrics"] for trace in others)


# ---- prompts inside of prompts

NESTED = """
executor = application.new_executor()
inner = {"1": node("Number", value=1), "2": node("Fail", value=["1", 0], message="inside"), "3": node("Show", value=["2", 0])}

class Nest(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        application.run_with(executor, inner, "inner", {"job_id": "inner"})
        return (value,)

class AsyncNest(nodes.Node):
    INPUTS = {"value": {}}

    async def run(self, value):
        await executor.execute_async(inner, "inner", {"job_id": "inner"}, ["3"])
        return (value,)

nodes.NODE_CLASS_MAPPINGS.update(Nest=Nest, AsyncNest=AsyncNest)
outer = {"1": node("Number", value=2), "2": node(NEST, value=["1", 0]), "3": node("Show", value=["2", 0])}
application.run_with(executor, outer, "outer", {"job_id": "outer"})
"""


@pytest.mark.parametrize("generation", ["r4", "x1", "a3"])
@ends
def test_a_node_that_has_its_own_executor_run_a_prompt(agent, version, generation):
    """Its messages take the place of the outer prompt's."""
    class_type = "AsyncNest" if generation == "a3" else "Nest"
    outer, inner = traces(agent, version, generation, NESTED.replace("NEST", repr(class_type)), "outer", "inner")
    assert inner.root["meta"]["workflow.status"] == "error"
    assert inner.root["meta"]["error.message"] == "inside"
    assert outer.root["meta"]["workflow.status"] == "success" and not outer.root["error"]
    assert [span["meta"]["node.result"] for span in outer.nodes] == ["SUCCESS"] * 3
    assert not any("node.cached" in span["meta"] for span in outer.nodes)


ATTRIBUTE_RUNS_PROMPTS = """
from comfy_execution import dynprompt, graph

class Nest(nodes.Node):
    INPUTS = {"depth": {}}
    OUTPUT_NODE = True

    def run(self, depth):
        if depth:
            application.run_here({"1": node("Nest", depth=depth - 1)}, "depth %d" % depth, {"job_id": "deep"})
        return {"ui": {}}

nodes.NODE_CLASS_MAPPINGS.update(Nest=Nest)
asked = []

def find(self, name):
    asked.append(name)
    if len(asked) == 1:  # enough of them for every table of ours to move
        application.run_here({"1": node("Nest", depth=40)}, "nested", {"job_id": "nested"})
    raise AttributeError(name)

graph.DynamicPrompt.__getattr__ = find
application.run_here(chain(4), "outer", {"job_id": "outer"})
result(asked[:1])
"""


@ends
def test_an_attribute_that_runs_prompts(agent, version):
    variables = {"DD_TRACE_AGENT_URL": agent.url, "MALLOC_PERTURB_": "165"}
    assert results(version, "x1", ATTRIBUTE_RUNS_PROMPTS, **variables) == [["node_overrides"]]
    spans = agent.take_spans()
    outer, nested = (session.of_job(spans, job) for job in ("outer", "nested"))
    assert sorted(span["resource"] for span in outer.nodes) == ["AddOne", "AddOne", "Number", "Show"]
    if version in ("3.9", "3.10", "3.11"):  # while sys.monitoring calls us, it watches nothing
        assert [span["resource"] for span in nested.nodes] == ["Nest"]
    assert len([span for span in spans if span["meta"].get("job.id") == "deep"]) == 40


# ---- nodes' functions called by others

OTHERS_TASKS = """
import execution

class Calls(nodes.Node):
    INPUTS = {"value": {}}

    async def run(self, value):
        await execution._async_map_node_over_list(
            "prompt", "nobody", nodes.NODE_CLASS_MAPPINGS["AsyncNow"](), {"value": [1]}, "run")
        return (value,)

nodes.NODE_CLASS_MAPPINGS.update(Calls=Calls)
application.run_here({"1": node("Calls", value=1), "2": node("Show", value=["1", 0])}, "prompt", {"job_id": "tasks"})
"""


@every_python
def test_tasks_of_what_the_executor_does_not_call_a_node(agent, version):
    """IS_CHANGED may be a coroutine too, and belong to a node that never runs."""
    (trace,) = traces(agent, version, "a3", OTHERS_TASKS, "tasks")
    assert trace.root["metrics"]["workflow.nodes.executed"] == trace.root["metrics"]["workflow.nodes.total"] == 2
    assert len(trace.nodes) == 2


OUTLIVES = """
import threading

reading, over = threading.Event(), threading.Event()

class Odd(Exception):
    def __str__(self):
        reading.set()
        over.wait(10)
        return "odd"

class FailOddly(nodes.Node):
    def run(self):
        raise Odd

class Spawn(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        arguments = sys._getframe()
        while arguments.f_code.co_name != "recursive_execute" or "server" not in arguments.f_locals:
            arguments = arguments.f_back
        given = dict(arguments.f_locals)
        names = execution.recursive_execute.__code__.co_varnames
        call = [given[name] for name in names[:execution.recursive_execute.__code__.co_argcount]]
        call[3] = "failing"

        def work():
            try:
                execution.recursive_execute(*call)
            except Odd:
                pass

        global thread
        thread = threading.Thread(target=work)
        thread.start()
        reading.wait(10)
        return {"ui": {}}

import execution
nodes.NODE_CLASS_MAPPINGS.update(FailOddly=FailOddly, Spawn=Spawn)
prompt = {"spawn": node("Spawn"), "failing": node("FailOddly")}
application.run_here(prompt, "outlived", {"job_id": "outlived"})
over.set()
thread.join()
result("ended")
"""


@every_python
def test_a_node_on_another_thread_that_outlives_its_prompt(agent, version):
    variables = {"DD_TRACE_AGENT_URL": agent.url, "MALLOC_PERTURB_": "165"}
    assert results(version, "r2", OUTLIVES, **variables) == ["ended"]
    trace = session.of_job(agent.take_spans(), "outlived")
    assert sorted(span["meta"]["node.result"] for span in trace.nodes) == ["PENDING", "SUCCESS"]


CLOSED = """
import asyncio

async def close(steps):
    running = application.new_executor().execute_async(prompt, "closed", {"job_id": "closed"}, ["2"])
    for _ in range(steps):
        running.send(None)
    running.close()

prompt = {"1": node("Number", value=1), "2": node("AsyncUntilReleased", value=["1", 0], event="never")}
asyncio.run(close(1))
"""


@every_python
def test_a_prompt_that_is_thrown_away(agent, version):
    (trace,) = traces(agent, version, "a3", CLOSED, "closed")
    assert trace.root["meta"]["workflow.status"] == "interrupted" and not trace.root["error"]
    assert [span["meta"]["node.result"] for span in trace.nodes] == ["SUCCESS", "INTERRUPTED"]
    assert trace.root["metrics"]["workflow.nodes.failed"] == 0


# ---- signals and ends

INTERRUPTED_WHILE_READ = """
import signal

class Odd(Exception):
    told = False

    def __str__(self):
        if not self.told:
            self.told = True
            signal.raise_signal(signal.SIGINT)
        return "odd"

class FailOddly(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        raise Odd

nodes.NODE_CLASS_MAPPINGS.update(FailOddly=FailOddly)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
try:
    try:
        application.run_here({"1": node("FailOddly")}, "odd", {})
    except Odd:
        pass
    for _ in range(1000):
        pass
    result("lost")
except KeyboardInterrupt:
    result("interrupted")
"""


@every_python
def test_control_c_while_an_exception_is_read(version):
    assert results(version, "r2", INTERRUPTED_WHILE_READ) == ["interrupted"]


ENDS_MEANWHILE = """
import threading

begun = threading.Event()

class Waits(nodes.Node):
    INPUTS = {"value": {}}
    OUTPUT_NODE = True

    def run(self, value):
        begun.set()
        threading.Event().wait()

nodes.NODE_CLASS_MAPPINGS.update(Waits=Waits)
prompt = {"1": node("Number", value=1), "2": node("Waits", value=["1", 0])}
threading.Thread(target=application.run_here, args=(prompt, "stopped", {"job_id": "stopped"}), daemon=True).start()
begun.wait()
"""


@pytest.mark.parametrize("generation", ["r4", "x1"])
@every_python
def test_the_program_ends_while_a_workflow_runs(agent, version, generation):
    (trace,) = traces(agent, version, generation, ENDS_MEANWHILE, "stopped")
    assert trace.root["meta"]["workflow.status"] == "interrupted" and not trace.root["error"]
    assert [span["meta"]["node.result"] for span in trace.nodes] == ["SUCCESS", "PENDING"]


EXIT_BY_C = """
import ctypes, socket, threading

silent = socket.create_server(("127.0.0.1", 0))  # an agent that never answers: the flush at the end takes its time
prompt = chain(20)
begun = threading.Event()

class Begun(nodes.Node):
    INPUTS = {"value": {}}
    OUTPUT_NODE = True

    def run(self, value):
        begun.set()
        return {"ui": {}}

nodes.NODE_CLASS_MAPPINGS.update(Begun=Begun)
prompt["begun"] = node("Begun", value=["3", 0])

def work():
    while True:
        application.run_here(prompt, "endless", {})

threading.Thread(target=work, daemon=True).start()
begun.wait()
ctypes.CDLL(None).exit(3)  # as a library in C may: Python does not know
"""


@pytest.mark.parametrize("generation", ["r4", "a3"])
@every_python
def test_a_library_ends_the_program_while_a_workflow_runs(version, generation):
    silenced = EXIT_BY_C.replace("import ctypes", "import os; os.close(1); os.open('/dev/null', os.O_WRONLY)\nimport ctypes")
    results(version, generation, silenced, 3, MALLOC_PERTURB_="165", DD_TRACE_AGENT_URL="http://127.0.0.1:9")
