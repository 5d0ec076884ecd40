"""tests/fakes/agent/strict_agent.py as a process, and what a test asks it."""

import json
import pathlib
import subprocess
import sys
import urllib.request

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "fakes" / "agent" / "strict_agent.py"
DEADLINE = 30  # seconds for any single answer


class StrictAgent:
    """A running agent: `with StrictAgent("--keep", "ids") as agent: ... agent.url ...`."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, *self.options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        listens = json.loads(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{listens['port']}"
        self.control = f"http://127.0.0.1:{listens['control_port']}/test/"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def ask(self, what, body=None):
        """Reads /test/WHAT, or posts `body` to it."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.control + what, data, timeout=DEADLINE) as reply:
            return json.loads(reply.read())

    def plan(self, *faults):
        """The next trace requests go so; a number stands for that many without a fault."""
        self.ask("faults", [{"kind": "none", "times": f} if isinstance(f, int) else f for f in faults])

    @property
    def spans(self):
        """All spans of all accepted payloads."""
        return [span for chunk in self.ask("spans") for span in chunk]

    @property
    def posts(self):
        """The requests that brought traces."""
        return [request for request in self.ask("requests") if request["path"] == "/v0.4/traces"]
