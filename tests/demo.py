"""make demo: a local agent and a ComfyUI with comfydd loaded, seven workflows, and the traces that the agent
received; then it runs under comfydd run, is killed in the middle of a node, and started again.

COMFYUI=dir runs that checkout (COMFYUI_PYTHON=its interpreter), else the stand-in runs. Exits with 1 when a
trace is missing or says something wrong."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import sys
import tempfile

from rig import comfyui, session, stand_in, traces
from rig.agent import Agent
from rig.launcher import LaunchedApp, command_of
from rig.process import Failed, wait_for
from rig.products import LIBRARY


def run_and_show(workflow, application, agent):
    """True when the workflow's trace is right."""
    prompt_id = application.run(workflow)
    trace = agent.trace(prompt_id)
    wrong = traces.problems(trace, workflow, prompt_id) if trace else ["no trace has come"]
    for line in traces.picture(trace) if trace else []:
        print(f"   {line}")
    for problem in wrong:
        print(f"   WRONG: {problem}")
    return not wrong


def print_lines_of_ours(application):
    for line in application.log().splitlines():
        if line.startswith("comfydd:"):
            print(f"   {line}")


def killed(app, folder, agent):
    """True when all is told that a ComfyUI leaves behind which is killed in the middle of a node."""
    print("\n8. killed: SIGKILL while a node runs, under comfydd run")
    folder.mkdir()
    database = folder / "jobs.db"
    app = LaunchedApp(app, "--restart=failure", f"--jobs-db=sqlite:{database}", f"--state={folder}/state")
    environment = {"DD_TRACE_AGENT_URL": agent.url, "COMFYDD_FLIGHT_FOLDER": os.fspath(folder)}
    with comfyui.ComfyUI(app, folder / "app", environment=environment) as application:
        (workflow,) = (w for w in application.workflows(folder) if w.name == "interrupted")
        application.submit(workflow.prompt, {"job_id": "demo-killed"})
        wait_for("the node to run", 30, lambda: app.node_has_started(application, workflow.interrupt_when))
        os.kill(command_of(application.process.child.pid), signal.SIGKILL)
        trace = wait_for("the trace", 30, lambda: session.of_job(agent.spans(), "demo-killed"))
        wait_for("its successor", 180, lambda: len(app.listening.findall(application.log())) == 2)
        rows = wait_for("the job's row", 30, lambda: jobs(database))
    for line in traces.picture(trace):
        print(f"   {line}")
    print("\nwhat comfydd run said:")
    print_lines_of_ours(application)
    print("\nthe job's row in SQLite:")
    for row in rows:
        print("   " + "   ".join(map(str, row)))
    return trace.root["meta"]["workflow.status"] == "killed" and [row[1] for row in rows] == ["failed"]


def jobs(database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'comfydd_jobs'").fetchall():
            return []  # the table is made on first use
        return connection.execute("SELECT job_id, state, class_type, reason FROM comfydd_jobs").fetchall()


def demo(folder):
    """Runs everything and prints it; the number of workflows whose trace is missing or wrong."""
    app = comfyui.checkout_from_environment() or stand_in.StandIn()
    bad = 0
    with Agent(folder) as agent:
        environment = {"DD_TRACE_AGENT_URL": agent.url}
        print(f"{app}\nagent: ddapm-test-agent on {agent.url}\nlibrary: {LIBRARY}")
        with comfyui.ComfyUI(app, folder / "app", LIBRARY, environment) as application:
            for number, workflow in enumerate(application.workflows(folder), 1):
                print(f"\n{number}. {workflow.name}: {workflow.about}")
                if workflow.lacks:
                    print(f"   left out: this ComfyUI has no {', '.join(sorted(workflow.lacks))}")
                elif not run_and_show(workflow, application, agent):
                    bad += 1
        print("\nwhat the library said:")
        print_lines_of_ours(application)
        bad += not killed(app, folder / "killed", agent)
        complaints = agent.complaints()
        if complaints:
            print(f"the agent complains: {complaints}")
    return bad + bool(complaints)


def main():
    with tempfile.TemporaryDirectory(prefix="comfydd-demo-") as folder:
        try:
            bad = demo(pathlib.Path(folder))
        except Failed as failed:
            print(f"demo: {failed}", file=sys.stderr)
            return 1
    print(f"\n{bad} of them wrong" if bad else "\nevery trace is as it must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
