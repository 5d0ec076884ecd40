"""Whatever way a program loads ComfyUI's executor, and whatever it runs on, its workflows are traced."""

import os
import subprocess

import pytest

from rig import comfyui, pythons, session
from rig.process import environment_without_datadog

pytestmark = pytest.mark.timeout(120)

FAKES = comfyui.REPOSITORY / "tests" / "fakes" / "comfyui"
VERSIONS = pythons.find()
WAYS = ["import", "by-path", "by-path-renamed", "in-a-package", "reloaded", "wrapped"]
CHAIN = {("1", "Number"), ("2", "AddOne"), ("3", "Show")}
MEETING = {("1", "Meet"), ("2", "Show")}
DEADLINE = 60


def run(command, agent, preload=True, **variables):
    """The process, done; its spans."""
    environment = dict(environment_without_datadog(), DD_TRACE_AGENT_URL=agent.url, **variables)
    if preload:
        environment["LD_PRELOAD"] = os.fspath(session.LIBRARY)
    done = subprocess.run(
        [os.fspath(word) for word in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    spans = agent.take_spans()
    return done, spans


def must_be_traced(done, spans, generation):
    """Two workflows one after the other, then twice two at the same time on threads of their own, the second
    time with the same prompt id."""
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stderr.count("Per-node execution instrumented") == 1, done.stderr
    assert len([span for span in spans if span["name"] == "comfyui.workflow.execute"]) == 6
    meetings = ["left", "right", "first-twin", "second-twin"]
    for name, nodes in [("one", CHAIN), ("two", CHAIN), *((name, MEETING) for name in meetings)]:
        trace = session.of_job(spans, "job-" + name)
        assert trace, name
        assert {(span["meta"]["node.id"], span["resource"]) for span in trace.nodes} == nodes
        assert len(trace.nodes) == len(nodes)
        assert all(span["trace_id"] == trace.root["trace_id"] for span in trace.nodes)
        assert trace.root["meta"]["workflow.status"] == "success"


@pytest.mark.parametrize("generation", ["r0", "r4", "a3", "hidden"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
def test_ways_of_loading(agent, way, version, generation):
    done, spans = run([VERSIONS[version], FAKES / "load.py", generation, way], agent)
    must_be_traced(done, spans, generation)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_an_executor_loaded_before_the_library(agent, version, generation):
    command = [VERSIONS[version], FAKES / "load.py", generation, "before-the-library"]
    done, spans = run(command, agent, preload=False, COMFYDD_LIB=os.fspath(session.LIBRARY))
    must_be_traced(done, spans, generation)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_embedded_interpreter(agent, tmp_path, version):
    program = embedding_program(VERSIONS[version], tmp_path)
    done, spans = run([program, FAKES / "load.py", "a3", "import"], agent)
    must_be_traced(done, spans, "a3")


def embedding_program(python, folder):
    """A C program with this Python inside; runs the script that its arguments name."""
    query = (
        "import sysconfig as s; names = 'LIBDIR', 'LDVERSION', 'Py_ENABLE_SHARED'; "
        "print(s.get_path('include'), *map(s.get_config_var, names), sep='\\n')"
    )
    answer = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True, timeout=30)
    include, libraries, name, shared = answer.stdout.split("\n")[:4]
    if shared != "1" or not os.path.exists(os.path.join(include, "Python.h")):
        pytest.skip("this Python has no shared library or no headers")
    program = folder / "embedding"
    source = comfyui.REPOSITORY / "tests" / "integration" / "embedding.c"
    subprocess.run(
        [
            "gcc",
            source,
            "-o",
            program,
            f"-I{include}",
            f"-L{libraries}",
            f"-Wl,-rpath,{libraries}",
            f"-lpython{name}",
        ],
        check=True,
        timeout=60,
    )
    return program


def test_an_executor_of_unknown_shape_is_left_alone(agent, tmp_path):
    (tmp_path / "execution.py").write_text(
        "class PromptExecutor:\n    def execute(self, prompt, prompt_id):\n        print('executed')\n"
    )
    script = "import execution; execution.PromptExecutor().execute({}, 'p')"
    python = list(VERSIONS.values())[-1]
    done, spans = run([python, "-c", script], agent, PYTHONPATH=os.fspath(tmp_path))
    assert (done.returncode, done.stdout, spans) == (0, "executed\n", [])
    (line,) = done.stderr.splitlines()
    assert line.startswith("comfydd: ") and "not traced" in line


def test_another_module_of_that_name_is_left_alone(agent, tmp_path):
    (tmp_path / "execution.py").write_text("def execute(server, current_item):\n    return current_item\n")
    script = "import execution; print(execution.execute(None, 5))"
    python = list(VERSIONS.values())[-1]
    done, spans = run([python, "-c", script], agent, PYTHONPATH=os.fspath(tmp_path))
    assert (done.returncode, done.stdout, done.stderr, spans) == (0, "5\n", "", [])
