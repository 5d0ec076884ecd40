"""make demo: a local agent and a ComfyUI with comfydd loaded, seven workflows, and the traces that the agent
received.

COMFYUI=dir runs that checkout (COMFYUI_PYTHON=its interpreter), else the stand-in runs. Exits with 1 when a
trace is missing or says something wrong."""

import pathlib
import sys
import tempfile

from rig import comfyui, stand_in, traces
from rig.agent import Agent
from rig.process import Failed


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


def demo(folder):
    """Runs everything and prints it; the number of workflows whose trace is missing or wrong."""
    app = comfyui.checkout_from_environment() or stand_in.StandIn()
    bad = 0
    with Agent(folder) as agent:
        environment = {"DD_TRACE_AGENT_URL": agent.url}
        print(f"{app}\nagent: ddapm-test-agent on {agent.url}\nlibrary: {comfyui.LIBRARY}")
        with comfyui.ComfyUI(app, folder / "app", comfyui.LIBRARY, environment) as application:
            for number, workflow in enumerate(application.workflows(folder), 1):
                print(f"\n{number}. {workflow.name}: {workflow.about}")
                if workflow.lacks:
                    print(f"   left out: this ComfyUI has no {', '.join(sorted(workflow.lacks))}")
                elif not run_and_show(workflow, application, agent):
                    bad += 1
        print("\nwhat the library said:")
        for line in application.log().splitlines():
            if line.startswith("comfydd:"):
                print(f"   {line}")
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
