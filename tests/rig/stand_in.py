"""The stand-ins of tests/fakes/comfyui: applications of our own with the interfaces of ComfyUI's
executors."""

import re
import sys

from rig import workflows
from rig.products import REPOSITORY
from rig.process import Failed, get


class StandIn:
    """The stand-in of one executor generation; the newest, if not said otherwise."""

    listening = re.compile(r"listening on port (\d+)")
    environment = {"PYTHONHASHSEED": "0"}  # sets have the same order in every run

    def __init__(self, python=sys.executable, generation="a3", options=()):
        self.python = python
        self.generation = generation
        self.options = options
        self.folder = REPOSITORY / "tests" / "fakes" / "comfyui" / generation

    def __str__(self):
        return "the stand-in for ComfyUI (COMFYUI=dir runs a real one)"

    def command(self, folder):
        program = ["-m", "comfy.cmd.main"] if self.generation == "hidden" else ["main.py"]
        return [self.python, *program, *self.options]

    def history(self, prompt_id):
        return f"history/{prompt_id}"

    def node_has_started(self, application, signal):
        try:
            get(f"{application.url}/signal/{signal}")
            return True
        except Failed:
            return False

    def workflows(self, application, folder):
        return workflows.of_stand_in()
