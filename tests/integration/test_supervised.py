"""A ComfyUI that dies under comfydd run: the spans and the jobs that it leaves behind tell of it."""

import contextlib
import http.client
import signal
import sqlite3

import pytest
from programs import HERE
from strict_agent_process import StrictAgent

from rig import pythons, session
from rig.cgroups import v1_group
from rig.fake_cuda import FakeCuda
from rig.launcher import read_only_groups, run
from rig.process import free_ports, wait_for
from rig.supervised import TOO_LARGE, Supervised
from rig.workflows import prompt

pytestmark = pytest.mark.timeout(120)

def died(agent):
    return wait_for("the trace", 30, lambda: session.of_job(agent.spans(), "job-7"))


def check(trace, error_type, says):
    meta = trace.root["meta"]
    assert (meta["workflow.status"], meta["error.type"]) == ("killed", error_type)
    assert says in meta["error.message"]
    first, second = trace.nodes
    assert (first["meta"]["node.id"], first["meta"]["node.result"]) == ("1", "SUCCESS")
    assert (second["meta"]["node.id"], second["meta"]["error.type"]) == ("2", error_type)


@pytest.mark.parametrize(
    "number, error_type", [(signal.SIGKILL, "ProcessKilled"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_killed_in_the_middle_of_a_node(agent, tmp_path, number, error_type):
    with Supervised(tmp_path, agent.url, "--restart=failure") as application:
        prompt_id = application.begin()
        application.kill(number)
        check(died(agent), error_type, signal.Signals(number).name)
        application.said("workflow .* was running, in node 2, WaitForInterrupt")
        application.said(r"(?s)listening on port.*listening on port")  # its successor
        ((*job, reason, node, class_type),) = wait_for("the job's row", 20, application.jobs)
        assert job == ["job-7", prompt_id, "failed"]
        assert reason.startswith(f"{error_type}: ") and (node, class_type) == ("2", "WaitForInterrupt")
    assert application.exit_code == 0
    assert len([s for s in agent.spans() if s["name"] == "comfyui.workflow.execute"]) == 1


def test_a_memory_kill_in_the_middle_of_a_node(agent, tmp_path):
    """By default it is started again, and goes on serving."""
    with v1_group("supervised"):  # skips where there are none
        with Supervised(tmp_path, agent.url, "--memory-limit=300M") as application:
            prompt_id = "0" * 32
            with contextlib.suppress(http.client.HTTPException, OSError):  # it may die before it has answered
                application.submit(TOO_LARGE, {"job_id": "job-7"}, prompt_id=prompt_id)
            trace = died(agent)
            meta = trace.root["meta"]
            assert (meta["workflow.status"], meta["error.type"]) == ("killed", "OOMKilled")
            assert "reached its limit of 0.29 GiB" in meta["error.message"]
            (node,) = [node for node in trace.nodes if node["resource"] == "EmptyImage"]
            assert node["meta"]["error.type"] == "OOMKilled"
            ((*job, reason, node, class_type),) = wait_for("the job's row", 20, application.jobs)
            assert job == ["job-7", prompt_id, "failed"]
            assert reason.startswith("OOMKilled: ") and (node, class_type) == ("2", "EmptyImage")
            application.said(r"(?s)listening on port.*listening on port")


# A node dies, once the library has noted what memory it has.
GPU_PROGRAM = """
import os, signal
from gpu_program import *
from rig import flight

class Die(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        tensor = Tensor(3 << 30)
        flight.wait_for_vram(3 << 30)
        os.kill(os.getpid(), signal.SIGKILL)

nodes.NODE_CLASS_MAPPINGS["Die"] = Die
workflow("job-7", n1=("Number", {"value": 1}), n2=("Die", {"value": ("1", 0)}), n3=("Show", {"value": ("2", 0)}))
"""


def test_a_gpu_where_allocations_are_limited(agent, tmp_path):
    """CUDA reserves more addresses than any limit allows, and GPU memory is no memory of the process. The job's row has it."""
    fake = FakeCuda(tmp_path)
    variables = {**fake.environment, "PYTHONPATH": f"{HERE}:{HERE.parent}", "DD_TRACE_AGENT_URL": agent.url}
    jobs = [f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state"]
    words = ["--memory-limit=1G", "--restart=never", *jobs, "--", pythons.default(), "-c", GPU_PROGRAM]
    done = run(*words, before=read_only_groups(), cwd=HERE.parent / "fakes" / "comfyui" / "a3", **variables)
    assert done.returncode == 137 and "RLIMIT_DATA is set to 1.00 GiB" in done.stderr, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        columns = "started_at < ended_at, job_id, state, node_id, peak_memory_bytes"
        (row,) = connection.execute(f"SELECT {columns} FROM comfydd_jobs").fetchall()
    assert row == (1, "job-7", "failed", "2", 3 << 30)
    trace = died(agent)
    assert trace.root["metrics"]["memory.vram.peak_bytes"] == 3 << 30


def test_every_job_is_recorded_when_asked_for(agent, tmp_path):
    with Supervised(tmp_path, agent.url, "--jobs-live", "--restart=never") as application:
        good = application.submit(
            prompt(n1=("Number", {"value": 1}), n2=("Show", {"a": ("n1", 0)})), {"job_id": "job-6"}
        )
        application.wait(good)
        bad = application.begin()
        wait_for("the jobs", 20, lambda: len(application.jobs()) == 2)
        states = {job: state for job, _, state, *_ in application.jobs()}
        assert states == {"job-6": "succeeded", "job-7": "running"}
        application.kill()
        assert application.process.child.wait(30) == 137
    ends = {prompt_id: (state, node) for _, prompt_id, state, _, node, _ in application.jobs()}
    assert ends == {good: ("succeeded", ends[good][1]), bad: ("failed", "2")}


def test_stopped_by_its_user(agent, tmp_path):
    """The stand-in ends in an orderly way: its own flush tells of the workflow, and nothing is recorded twice."""
    with Supervised(tmp_path, agent.url) as application:
        application.begin()
    assert application.exit_code == 0
    assert "was stopped with SIGINT" in application.log()
    roots = [s for s in agent.spans() if s["name"] == "comfyui.workflow.execute"]
    assert len(roots) == 1 and "OOMKilled" not in str(roots)


def test_the_agent_is_away_and_comes_back_with_the_next_start(agent, tmp_path):
    (port,) = free_ports(1)
    with Supervised(tmp_path, f"http://127.0.0.1:{port}", "--restart=never") as application:
        application.begin()
        application.kill()
        application.said("are kept until the Datadog agent takes them")
        assert application.process.child.wait(30) == 137
    ((*_, state, reason, _, _),) = application.jobs()
    assert state == "failed" and reason.startswith("ProcessKilled")
    (tmp_path / "second").mkdir()
    with Supervised(tmp_path / "second", agent.url):
        check(died(agent), "ProcessKilled", "without saying why")


def test_the_agent_comes_back_while_the_successor_runs(tmp_path):
    """What was kept is sent with its own verdict, not with that of a later death."""
    (port,) = free_ports(1)
    options = ("--restart=failure", "--max-restarts=2")
    with Supervised(tmp_path, f"http://127.0.0.1:{port}", *options) as application:
        application.begin()
        application.kill()
        application.said("are kept until the Datadog agent takes them")
        application.said(r"(?s)listening on port.*listening on port")
        application.kill(signal.SIGSEGV)
        application.said("crashed with SIGSEGV")
        with StrictAgent("--port", str(port)) as agent:

            def roots():
                return [span for span in agent.spans if span["name"] == "comfyui.workflow.execute"]

            (root,) = wait_for("the trace", 40, roots)
            assert root["meta"]["error.type"] == "ProcessKilled"
            assert "SIGKILL" in root["meta"]["error.message"]
            ids = [(span["trace_id"], span["span_id"]) for span in agent.spans]
            assert len(ids) == len(set(ids)) == 3
        assert len(application.jobs()) == 1
