"""One run of a stand-in through all its scenarios: what its user saw, and what an agent received."""

import dataclasses

from rig import comfyui, scenarios, traces
from rig.messages import Normaliser
from rig.process import http, wait_for
from rig.products import LIBRARY

CLIENT = "c0ffee00c0ffee00c0ffee00c0ffee00"


@dataclasses.dataclass
class Session:
    scenarios: dict  # rig.scenarios.Scenario by name; the other dicts have the same keys
    prompt_ids: dict
    histories: dict
    log: list  # the application's lines; what differs between any two runs made the same
    library_log: list  # comfydd's
    exit_code: int
    traces: dict = None  # rig.traces.Trace, None for one that did not come


def run(app, folder, agent=None, library=LIBRARY, wanted=None, environment=None):
    """Runs the scenarios of a rig.stand_in.StandIn, with the library preloaded when there is an agent.
    `wanted` are their names, None for all."""
    chosen = [s for s in scenarios.of(app.generation) if wanted is None or s.name in wanted]
    environment = dict(environment or {}, **({"DD_TRACE_AGENT_URL": agent.url} if agent else {}))
    prompt_ids, histories = {}, {}
    with comfyui.ComfyUI(app, folder / "app", library if agent else None, environment) as application:
        for scenario in chosen:
            client = CLIENT if scenario.attended else None
            if scenario.kills_worker:
                prompt_ids[scenario.name] = application.submit(
                    scenario.prompt, {"job_id": scenario.job_id}, client
                )
                last = ": ".join(scenario.error) + "\n"
                wait_for("the worker thread to die", 30, lambda: last in application.log())
            else:
                prompt_ids[scenario.name] = application.run(scenario, client)
            histories[scenario.name] = http(f"{application.url}/history/{prompt_ids[scenario.name]}")
    normaliser = Normaliser(prompt_ids.values(), folder)
    return Session(
        {scenario.name: scenario for scenario in chosen},
        prompt_ids,
        {name: normaliser.value(history) for name, history in histories.items()},
        [line for line in normaliser.log(application.log()) if not line.startswith("listening on port ")],
        [line for line in application.log().splitlines() if line.startswith("comfydd:")],
        application.exit_code,
    )


def collect(session, spans):
    """Finds the session's traces among these spans."""
    session.traces = {name: of_job(spans, scenario.job_id) for name, scenario in session.scenarios.items()}
    return session


def of_job(spans, job_id):
    """The trace of a job: unlike the prompt id, every generation's executor gets to know its id."""
    roots = [span for span in spans if span["meta"].get("job.id") == job_id]
    if not roots:
        return None
    return traces.Trace(roots[0], [span for span in spans if span["parent_id"] == roots[0]["span_id"]])
