"""What becomes of the jobs of a traced stand-in, as somebody who watches its flight memory sees it and writes it down."""

import subprocess
import sys

import pytest
from jobs_rig import Driver, Sqlite
from programs import LIBRARY, REPOSITORY, environment
from rig.process import wait_for

pytestmark = pytest.mark.timeout(120)

PROGRAM = """
import sys
import main, application, nodes
application.configure(main.GENERATION)

class Pause(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        print("\\npaused", flush=True)
        sys.stdin.readline()
        return (value,)

nodes.NODE_CLASS_MAPPINGS.update(Pause=Pause)

def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}

for line in iter(sys.stdin.readline, ""):
    job, class_type = line.split()
    inputs = {"message": "it broke"} if class_type == "Fail" else {}
    prompt = {"1": node("Number", value=1), "2": node(class_type, value=["1", 0], **inputs),
              "3": node("Show", value=["2", 0])}
    application.run_here(prompt, "prompt-" + job, {"job_id": job})
    print("\\ndone", flush=True)
"""


class Watched:
    """A stand-in below a supervisor that looks when it is told to."""

    def __init__(self, folder, agent):
        flight = folder / "flight"
        flight.mkdir()
        self.database = Sqlite(folder)
        self.supervisor = Driver(self.database.url, folder)
        assert self.supervisor.send(f"watch {flight}")
        self.child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=REPOSITORY / "tests/fakes/comfyui/a3", text=True,
            env=environment(LD_PRELOAD=LIBRARY, DD_TRACE_AGENT_URL=agent.url, COMFYDD_FLIGHT_FOLDER=flight,
                            COMFYDD_SUPERVISOR=self.supervisor.identity),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def tell(self, line, until):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        while self.child.stdout.readline().strip() != until:
            assert self.child.poll() is None

    def rows_are(self, *wanted):
        """After a look, and in the end."""
        assert self.supervisor.send("look")

        def rows():
            # Until the first event there is no table.
            if not self.database.path.exists() or self.supervisor.spool.stat().st_size:
                return None
            return self.database.ask("SELECT job_id, prompt_id, state, reason, node_id, class_type FROM comfydd_jobs "
                                     "ORDER BY started_at")

        assert wait_for("rows", 20, rows) == [list(row) for row in wanted]

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()
        self.supervisor.close()


@pytest.fixture
def watched(tmp_path, agent):
    made = Watched(tmp_path, agent)
    yield made
    made.close()


J1 = ("j1", "prompt-j1", "succeeded", "", "", "")
J2 = ("j2", "prompt-j2", "failed", "builtins.ValueError: it broke", "2", "Fail")


def test_states_are_seen_as_they_come(watched):
    watched.tell("j1 Pause", "paused")
    watched.rows_are(("j1", "prompt-j1", "running", "", "", ""))
    watched.tell("", "done")
    watched.rows_are(J1)
    watched.tell("j2 Fail", "done")
    watched.rows_are(J1, J2)


def test_what_ended_before_an_orderly_exit_is_seen_after_it(watched, agent):
    watched.tell("j1 Pause", "paused")
    watched.rows_are(("j1", "prompt-j1", "running", "", "", ""))
    watched.tell("", "done")
    watched.tell("j2 Fail", "done")
    watched.child.stdin.close()
    assert watched.child.wait(30) == 0
    assert agent.spans()  # delivered, and the file is gone
    watched.rows_are(J1, J2)


def test_a_killed_job_is_left_to_who_knows_the_verdict(watched):
    watched.tell("j1 Pause", "paused")
    watched.child.kill()
    watched.child.wait()
    watched.rows_are(("j1", "prompt-j1", "running", "", "", ""))
