"""Forks and custom nodes that put functions of their own in the place of the executor's, and never call those. What they
execute is traced all the same, from the second prompt on; what cannot be is told in one line."""

import json

import pytest
from programs import HERE, LIBRARY, REPOSITORY, run
from rig import pythons, session

pytestmark = pytest.mark.timeout(120)

FAKES = REPOSITORY / "tests" / "fakes" / "comfyui"
PYTHONS = pythons.find()
ends = pytest.mark.parametrize("version", sorted({list(PYTHONS)[0], list(PYTHONS)[-1]}))
generations = pytest.mark.parametrize("generation", ["r0", "r4", "x1", "a3"])
JOBS = ["first", "second", "third"]

# Copies are compiled anew: with the original's code object they would be watched as the original.
SUBSTITUTES = """
import inspect, textwrap
import execution

NODE = "recursive_execute" if hasattr(execution, "recursive_execute") else "execute"
PROMPT = "execute_async" if hasattr(execution.PromptExecutor, "execute_async") else "execute"
FILE = "/custom_nodes/fork/executor.py"

def copy(function):
    made = {}
    exec(compile(textwrap.dedent(inspect.getsource(function)), FILE, "exec"), vars(execution), made)
    return made[function.__name__]

class Executor(execution.PromptExecutor):
    pass

def run_all():
    for job in ("first", "second", "third"):
        executor = application.new_executor()
        executor.__class__ = Executor
        application.run_with(executor, chain(5), job, {"job_id": job})
        result(application.outputs_of(executor))
"""


def run_program(agent, version, generation, program, jobs=JOBS):
    """(the traces of these jobs, what the library has said beside its first line)"""
    command = [PYTHONS[version], "-c", "from stand_in_program import *\n" + SUBSTITUTES + program]
    out, err = run(
        command, cwd=FAKES / generation, PYTHONPATH=HERE, LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url)
    spans = agent.take_spans()
    said = [line for line in err.splitlines() if line.startswith("comfydd:")]
    assert "instrumented" in said[0]
    outputs = [line for line in out.splitlines() if line.startswith("result ")]
    roots = [span["meta"]["job.id"] for span in spans if "job.id" in span["meta"]]
    assert len(roots) == len(set(roots))
    assert len(outputs) == len(JOBS) and len(set(outputs)) == 1 and json.loads(outputs[0].partition(" ")[2])
    return [session.of_job(spans, job) for job in jobs], said[1:]


def is_whole(trace):
    assert trace.root["meta"]["workflow.status"] == "success"
    assert trace.root["metrics"]["workflow.nodes.executed"] == 5
    assert [span["metrics"]["node.executions"] for span in trace.nodes] == [1] * 5
    assert sorted(span["resource"] for span in trace.nodes) == ["AddOne"] * 3 + ["Number", "Show"]


REPLACED = """
setattr(execution, NODE, copy(getattr(execution, NODE)))
run_all()
"""


@generations
@ends
def test_nodes_executed_by_another_function(agent, version, generation):
    (first, *others), said = run_program(agent, version, generation, REPLACED)
    assert first.root["metrics"]["workflow.nodes.total"] == 0
    for trace in others:
        is_whole(trace)
    assert len(said) == 1 and "/custom_nodes/fork/executor.py" in said[0] and "from the next prompt on" in said[0]


NOW_AND_THEN = """
original = getattr(execution, NODE)
own = copy(original)
calls = []
source = '''def {name}({names}):
    calls.append(1)
    return (own if len(calls) <= 5 else original)({names})'''
exec(compile(source.format(name=NODE, names=", ".join(inspect.signature(original).parameters)), FILE, "exec"),
     vars(execution).update(calls=calls, own=own, original=original) or vars(execution))
run_all()
"""


@pytest.mark.parametrize("generation", ["r4", "x1"])
@ends
def test_another_function_that_calls_the_executors_later(agent, version, generation):
    """Then both are watched, and a node's call is in another one of the same node."""
    (first, *others), said = run_program(agent, version, generation, NOW_AND_THEN)
    assert first.root["metrics"]["workflow.nodes.total"] == 0
    for trace in others:
        is_whole(trace)
    assert len(said) == 1


CANNOT = """
real = copy(getattr(execution, NODE))

def stranger(*arguments):
    return real(*arguments)

setattr(execution, NODE, stranger)
run_all()
"""


@generations
@ends
def test_nodes_executed_by_a_function_that_cannot_be_watched(agent, version, generation):
    traces, said = run_program(agent, version, generation, CANNOT)
    for trace in traces:
        assert trace.root["meta"]["workflow.status"] == "success" and not trace.nodes
    assert len(said) == 1 and "stranger" in said[0] and "without their nodes" in said[0]


OVERRIDDEN = """
setattr(Executor, PROMPT, copy(getattr(execution.PromptExecutor, PROMPT)))
run_all()
"""


@generations
@ends
def test_prompts_executed_by_another_method(agent, version, generation):
    (first, *others), said = run_program(agent, version, generation, OVERRIDDEN)
    assert first is None
    for trace in others:
        is_whole(trace)
    assert len(said) == 1 and "/custom_nodes/fork/executor.py" in said[0] and "from the next prompt on" in said[0]


OVERRIDDEN_NOW_AND_THEN = """
original = getattr(execution.PromptExecutor, PROMPT)
asynchronous, wait = ("async ", "await ") if inspect.iscoroutinefunction(original) else ("", "")
source = '''{}def {}({names}):
    calls.append(1)
    return {}(own if len(calls) == 1 else original)({names})'''
names = ", ".join(inspect.signature(original).parameters)
vars(execution).update(calls=[], own=copy(original), original=original)
made = {}
exec(compile(source.format(asynchronous, PROMPT, wait, names=names), FILE, "exec"), vars(execution), made)
setattr(Executor, PROMPT, made[PROMPT])
run_all()
"""


@generations
@ends
def test_another_method_that_calls_the_executors_later(agent, version, generation):
    """Then both are watched, and the outer one is the workflow."""
    (first, *others), _ = run_program(agent, version, generation, OVERRIDDEN_NOW_AND_THEN)
    assert first is None
    for trace in others:
        is_whole(trace)


OTHER_CODE = """
getattr(execution, NODE).__code__ = copy(getattr(execution, NODE)).__code__
run_all()
getattr(execution.PromptExecutor, PROMPT).__code__ = copy(getattr(execution.PromptExecutor, PROMPT)).__code__
for job in ("fourth", "fifth"):
    application.run_here(chain(5), job, {"job_id": job})
"""


@generations
@ends
def test_functions_that_are_given_other_code(agent, version, generation):
    """As IPython's autoreload does it."""
    jobs = [*JOBS, "fourth", "fifth"]
    (first, second, third, fourth, fifth), said = run_program(agent, version, generation, OTHER_CODE, jobs)
    assert first.root["metrics"]["workflow.nodes.total"] == 0
    assert fourth is None
    for trace in (second, third, fifth):
        is_whole(trace)
    assert len(said) == 2


TAKEN_AWAY = """
monitoring = sys.monitoring
(ours,) = [n for n in range(6) if monitoring.get_tool(n) == "comfydd"]
monitoring.free_tool_id(ours)
monitoring.use_tool_id(ours, "another")
for event in (monitoring.events.PY_START, monitoring.events.PY_RETURN):
    monitoring.register_callback(ours, event, None)
run_all()
"""


@pytest.mark.parametrize("generation", ["x1", "a3"])
@pytest.mark.parametrize("version", [name for name in PYTHONS if int(name.partition(".")[2]) >= 12])
def test_another_tool_takes_our_place(agent, version, generation):
    (first, *others), said = run_program(agent, version, generation, TAKEN_AWAY)
    assert first.root["metrics"]["workflow.nodes.total"] == 0
    for trace in others:
        is_whole(trace)
    assert len(said) == 1 and "were not seen" in said[0]


ANEW_FOR_EVERY_PROMPT = """
original = getattr(execution, NODE)
for n in range(100):
    setattr(execution, NODE, copy(original))
    application.run_here(chain(5), str(n), {"job_id": str(n)})
run_all()
"""


@pytest.mark.parametrize("generation", ["r4", "a3"])
@ends
def test_a_new_function_for_every_prompt_is_given_up(agent, version, generation):
    _, said = run_program(agent, version, generation, ANEW_FOR_EVERY_PROMPT)
    assert len(said) == 2 and "from the next prompt on" in said[0] and "without their nodes" in said[1]


WRAPPED = """
import functools
original = getattr(execution, NODE)

if inspect.iscoroutinefunction(original):
    async def wrapper(*arguments, **named):
        return await original(*arguments, **named)
else:
    def wrapper(*arguments, **named):
        return original(*arguments, **named)

setattr(execution, NODE, wrapper)

class Executor(Executor):
    pass

method = getattr(execution.PromptExecutor, PROMPT)
if inspect.iscoroutinefunction(method):
    async def wrapped(self, *arguments, **named):
        return await method(self, *arguments, **named)
else:
    def wrapped(self, *arguments, **named):
        return method(self, *arguments, **named)

setattr(Executor, PROMPT, wrapped)
run_all()
"""


@generations
@ends
def test_wrappers_hide_nothing(agent, version, generation):
    traces, said = run_program(agent, version, generation, WRAPPED)
    for trace in traces:
        is_whole(trace)
    assert not said
