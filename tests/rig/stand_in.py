"""The stand-in of tests/fakes/comfyui: an application of its own with ComfyUI's executor interface."""

import re
import sys

from rig import workflows
from rig.comfyui import REPOSITORY
from rig.process import Failed, get


class StandIn:
    """The stand-in of the newest executor generation."""

    listening = re.compile(r"listening on port (\d+)")
    environment = {}

    def __init__(self, python=sys.executable):
        self.python = python
        self.folder = REPOSITORY / "tests" / "fakes" / "comfyui" / "a3"

    def __str__(self):
        return "the stand-in for ComfyUI (COMFYUI=dir runs a real one)"

    def command(self, folder):
        return [self.python, "main.py"]

    def node_has_started(self, application, signal):
        try:
            get(f"{application.url}/signal/{signal}")
            return True
        except Failed:
            return False

    def workflows(self, application, folder):
        return workflows.of_stand_in()
