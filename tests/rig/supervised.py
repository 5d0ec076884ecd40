"""The stand-in for ComfyUI under `comfydd run`, in a test's hands."""

import contextlib
import os
import re
import signal
import sqlite3

from rig import comfyui, pythons
from rig.launcher import LaunchedApp, command_of
from rig.process import wait_for
from rig.stand_in import StandIn
from rig.workflows import prompt

WAITING = prompt(
    n1=("Number", {"value": 1}),
    n2=("WaitForInterrupt", {"value": ("n1", 0), "signal": "begun"}),
    n3=("Show", {"a": ("n2", 0)}),
)
TOO_LARGE = prompt(  # the image takes 400 MB
    n1=("Number", {"value": 1}),
    n2=("EmptyImage", {"width": 20000, "height": 20000, "color": 1}),
    n3=("Show", {"a": ("n1", 0)}),
    n4=("SaveImage", {"images": ("n2", 0)}),
)
COLUMNS = "job_id, prompt_id, state, reason, node_id, class_type"


class Supervised(comfyui.ComfyUI):
    """The stand-in under comfydd run, which records jobs in SQLite."""

    def __init__(self, tmp_path, url, *options, before=()):
        self.database = tmp_path / "jobs.db"
        jobs = (f"--jobs-db=sqlite:{self.database}", f"--state={tmp_path}/state")
        app = LaunchedApp(StandIn(pythons.default()), *jobs, *options, before=before)
        folder = os.environ["COMFYDD_FLIGHT_FOLDER"]  # one for all of a test
        variables = {"DD_TRACE_AGENT_URL": url, "COMFYDD_FLIGHT_FOLDER": folder}
        super().__init__(app, tmp_path / "app", environment=variables)

    def begin(self):
        """Queues a workflow and waits until its second node runs; the prompt's id."""
        prompt_id = self.submit(WAITING, {"job_id": "job-7"})
        wait_for("the node to run", 30, lambda: self.app.node_has_started(self, "begun"))
        return prompt_id

    def kill(self, number=signal.SIGKILL):
        os.kill(command_of(self.process.child.pid), number)

    def jobs(self):
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'comfydd_jobs'").fetchall():
                return []  # the table is made on first use
            return connection.execute(f"SELECT {COLUMNS} FROM comfydd_jobs").fetchall()

    def said(self, pattern, seconds=30):
        return wait_for(pattern, seconds, lambda: re.search(pattern, self.log()))
