"""The watchdog: a ComfyUI that lives and does not work is told of, and started again when that is wanted."""

import re
import signal
import sys
import time

import pytest

from rig import comfyui, session
from rig.launcher import LaunchedApp
from rig.process import free_ports, get, wait_for
from rig.products import LIBRARY
from rig.stand_in import StandIn
from rig.supervised import COLUMNS, Supervised
from rig.workflows import prompt

pytestmark = pytest.mark.timeout(120)

GOOD = prompt(n1=("Number", {"value": 1}), n2=("Show", {"a": ("n1", 0)}))


def ending(class_type):
    return prompt(n1=("Number", {"value": 1}), n2=(class_type, {"value": ("n1", 0)}), n3=("Show", {"a": ("n2", 0)}))


def died(agent):
    return wait_for("the trace", 30, lambda: session.of_job(agent.spans(), "job-7"))


def wait_for_the_successor(application):
    application.said(r"(?s)listening on port.*listening on port")


def test_a_node_that_hangs_is_ended_with_its_process(agent, tmp_path):
    with Supervised(tmp_path, agent.url, "--watchdog=2s", "--watchdog-restart") as application:
        prompt_id = application.begin()
        application.said(rf"watchdog: no node has begun or ended for \d s; workflow {prompt_id} is running, in node 2")
        application.said(r"stopping the command: the watchdog asks for it")
        application.said(r"was ended by the watchdog: no node had begun or ended for 2 s")
        application.said(r"starting it again in 1 s \(restart 1 of at most 10\)")
        trace = died(agent)
        wait_for_the_successor(application)
        ((*job, reason, node, class_type),) = wait_for("the job's row", 20, application.jobs)
        assert job == ["job-7", prompt_id, "failed"], COLUMNS
        assert reason.startswith("ProcessHung: ") and (node, class_type) == ("2", "WaitForInterrupt")
        application.kill(signal.SIGSEGV)  # that one has not hung
        assert application.process.child.wait(30) == 128 + signal.SIGSEGV
        assert "crashed with SIGSEGV" in application.log()
    first, second = trace.nodes
    assert trace.root["meta"]["workflow.status"] == "killed"
    for span in (trace.root, second):
        assert span["meta"]["error.type"] == "ProcessHung"
        assert 1000 < span["metrics"]["watchdog.stalled_after_ms"] < 10000
    assert "watchdog.stalled_after_ms" not in first["metrics"]


def test_what_a_dead_one_has_left_does_not_end_its_successor(tmp_path):
    """Its flight memory, which says that it has stalled, is kept as long as no agent takes it."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Supervised(tmp_path, url, "--watchdog=1s", "--watchdog-restart") as application:
        application.begin()
        wait_for_the_successor(application)
        successor = time.monotonic()
        wait_for("it to be looked at", 10, lambda: time.monotonic() > successor + 3)
        assert application.log().count("stopping the command: the watchdog asks for it") == 1
    assert application.exit_code == 0


def test_without_a_restart_it_is_told_and_left_alone(agent, tmp_path):
    """Also without a supervisor."""
    variables = {"DD_TRACE_AGENT_URL": agent.url, "COMFYDD_WATCHDOG": "1s", "LD_PRELOAD": str(LIBRARY)}
    with comfyui.ComfyUI(StandIn(sys.executable), tmp_path / "app", environment=variables) as application:
        prompt_id = application.submit(
            prompt(
                n1=("Number", {"value": 1}),
                n2=("WaitForInterrupt", {"value": ("n1", 0), "signal": "begun"}),
                n3=("Show", {"a": ("n2", 0)}),
            ),
            {"job_id": "job-7"},
        )
        wait_for("the line", 20, lambda: "watchdog: no node has begun or ended for" in application.log())
        get(application.url + "/interrupt", method="POST", body={})
        application.wait(prompt_id)
        trace = died(agent)
        assert trace.root["meta"]["workflow.status"] == "interrupted"
        assert trace.root["metrics"]["watchdog.stalled_after_ms"] > 900
    assert "error.type" not in trace.root["meta"]
    assert application.log().count("watchdog: no node") == 1


@pytest.mark.parametrize("class_type", ["KillWorker", "ExitWorker"])
def test_a_worker_that_is_gone_is_replaced(agent, tmp_path, class_type):
    """The server answers all the time; without the watchdog the second prompt would wait for ever."""
    with Supervised(tmp_path, agent.url, "--watchdog=1h", "--watchdog-restart") as application:
        application.submit(ending(class_type), {"job_id": "job-7"})
        application.said("watchdog: ComfyUI's worker thread has ended")
        application.said("was ended by the watchdog: ComfyUI's worker thread had ended, while its server went on")
        wait_for_the_successor(application)
        trace = died(agent)
        assert trace.root["meta"]["workflow.status"] == "error"  # its own end was seen
        application.url = re.sub(r"\d+$", re.findall(r"listening on port (\d+)", application.log())[-1], application.url)
        application.wait(application.submit(GOOD, {"job_id": "job-8"}))
    assert application.exit_code == 0
    assert application.log().count("worker thread has ended") == 1


def test_a_long_workflow_that_goes_on_is_left_alone(agent, tmp_path):
    nodes = {f"n{i}": ("Sleep", {"value": (f"n{i - 1}", 0), "seconds": 0.5}) for i in range(2, 12)}
    long = prompt(n1=("Number", {"value": 1}), **nodes, n12=("Show", {"a": ("n11", 0)}))
    with Supervised(tmp_path, agent.url, "--watchdog=4s", "--watchdog-restart") as application:
        application.wait(application.submit(long, {"job_id": "job-7"}))
        trace = wait_for("the trace", 20, lambda: session.of_job(agent.spans(), "job-7"))
        assert trace.root["meta"]["workflow.status"] == "success"
        assert trace.root["duration"] > 5e9
    assert "watchdog" not in application.log()


class Stubborn(StandIn):
    """It ignores SIGTERM."""

    def command(self, folder):
        return ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", *super().command(folder)]


def test_one_that_does_not_stop_is_killed(agent, tmp_path):
    app = LaunchedApp(Stubborn(sys.executable), "--watchdog=1s", "--watchdog-restart", "--grace=1")
    variables = {"DD_TRACE_AGENT_URL": agent.url}
    with comfyui.ComfyUI(app, tmp_path / "app", environment=variables) as application:
        application.submit(
            prompt(n1=("WaitForInterrupt", {"value": 1, "signal": "begun"}), n2=("Show", {"a": ("n1", 0)})),
            {"job_id": "job-7"},
        )
        trace = died(agent)
        assert trace.root["meta"]["error.type"] == "ProcessHung"
        wait_for("its successor", 30, lambda: application.log().count("listening on port") == 2)


def test_a_restart_without_a_watchdog_is_told_of(tmp_path):
    app = LaunchedApp(StandIn(sys.executable), "--watchdog-restart")
    with comfyui.ComfyUI(app, tmp_path / "app") as application:
        wait_for("the line", 20, lambda: "the watchdog is off" in application.log())
