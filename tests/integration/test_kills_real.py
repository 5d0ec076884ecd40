"""A real ComfyUI, of the version in COMFYUI (run by COMFYUI_PYTHON), that is killed at random moments: what it had recorded
arrives, once, and what was open arrives closed. COMFYDD_REAL_KILLS sets how often (50), each a start of ComfyUI."""

import collections
import contextlib
import http.client
import itertools
import os
import random
import signal
import threading

import pytest
from strict_agent_process import StrictAgent

from rig import comfyui, kills
from rig.process import http as ask
from rig.process import wait_for
from rig.products import LIBRARY
from rig.workflows import chains

KILLS = int(os.environ.get("COMFYDD_REAL_KILLS", "50"))
MOMENTS = (0.05, 1.5)  # seconds after the first workflow
CHAINS = 20  # of two nodes each, in a workflow

pytestmark = [
    pytest.mark.timeout(120 + 60 * KILLS),
    pytest.mark.skipif(
        not os.environ.get("COMFYUI"),
        reason="needs a ComfyUI checkout: COMFYUI=dir COMFYUI_PYTHON=its-interpreter",
    ),
]


class Application(comfyui.ComfyUI):
    """ComfyUI with one flight folder for all that a test starts."""

    numbers = itertools.count(1)  # of workflows

    def __init__(self, folder, flight_folder, url):
        variables = {
            "DD_TRACE_AGENT_URL": url,
            "COMFYDD_FLIGHT_FOLDER": os.fspath(flight_folder),
            "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.05",
        }
        self.folder = folder
        super().__init__(comfyui.checkout_from_environment(), folder, LIBRARY, variables)

    def prompts(self):
        """Workflows without end: chains, and now and then one with images. None is cached."""
        images = self.workflows(self.folder)[0].prompt
        for number in self.numbers:
            for node in images.values():
                if "color" in node["inputs"]:
                    node["inputs"]["color"] = number
            yield images if number % 3 == 1 else chains(CHAINS, number * CHAINS)

    def done(self):
        """The prompts that ComfyUI calls done."""
        history = ask(self.url + "/history")
        return {prompt for prompt, entry in history.items() if entry["status"]["completed"]}

    def work(self, done):
        """Queues workflows, and adds to `done`, until it is killed."""
        with contextlib.suppress(http.client.HTTPException, OSError):
            for prompt in self.prompts():
                self.submit(prompt)
                done |= self.done()

    def kill(self):
        self.process.child.send_signal(signal.SIGKILL)
        assert self.process.child.wait(30) == -signal.SIGKILL, self.log()


def test_what_was_recorded_arrives_once_and_what_was_open_arrives_closed(tmp_path, flight_folder):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    account, done = kills.Account(flight_folder), set()
    with StrictAgent() as agent:
        for number in range(KILLS):
            with Application(tmp_path / str(number), flight_folder, agent.url) as application:
                killer = threading.Timer(chance.uniform(*MOMENTS), application.kill)
                killer.start()
                application.work(done)
                killer.join()
            account.note()
        with Application(tmp_path / "last", flight_folder, agent.url) as application:
            application.submit(next(application.prompts()))
            done |= wait_for("the workflow", 60, application.done)
        spans = account.check(agent)
    for span, error in account.open.items():
        kills.assert_killed(spans[span], error)
    # By ComfyUI's own account: whole traces of all that it had done.
    by_prompt = collections.defaultdict(list)
    for span in spans.values():
        by_prompt[span["meta"]["workflow.prompt_id"]].append(span)
    print(f"{len(done)} workflows were done, {len(by_prompt) - len(done)} were not; {len(account.open)} spans were open")
    assert len(done) > KILLS
    for prompt in done:
        workflow, nodes = kills.split(by_prompt[prompt])
        assert workflow["meta"]["workflow.status"] == "success"
        assert len(nodes) in (2 * CHAINS, 5), sorted(nodes)
        assert {node["meta"]["node.result"] for node in nodes.values()} == {"SUCCESS"}
