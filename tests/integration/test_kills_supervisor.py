"""A supervisor that is killed itself, with its command or without, and started again: spans and jobs arrive once all the same.

COMFYDD_SUPERVISOR_KILLS sets the number of rounds (10); a hundred take two minutes."""

import contextlib
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import pytest
from programs import HERE, LIBRARY, environment
from strict_agent_process import StrictAgent

from rig import flight, kills, pythons
from rig.launcher import COMFYDD, command_of
from rig.process import wait_for

ROUNDS = int(os.environ.get("COMFYDD_SUPERVISOR_KILLS", "10"))
FOLDER = HERE.parent / "fakes" / "comfyui" / "a3"

pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)


class Supervisor:
    """comfydd run with killed_program.py as its command, or that alone; all of a test share diary, database and flights."""

    def __init__(self, tmp_path, url, *words, options=(), preload_only=False, **others):
        self.diary = tmp_path / "diary"
        self.diary.touch()
        self.begun = len(self.prompts("begin"))
        self.log = tmp_path / f"{time.monotonic_ns()}.log"
        python = list(pythons.find().values())[-1]
        settings = {"DD_TRACE_AGENT_URL": url, "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.02", "PYTHONPATH": HERE}
        settings.update(others)
        if preload_only:
            settings["LD_PRELOAD"] = LIBRARY
        run = [COMFYDD, "run", f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state", *options, "--"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*(() if preload_only else run), python, HERE / "killed_program.py", self.diary, *map(str, words)],
                cwd=FOLDER,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def prompts(self, word):
        lines = [line.split() for line in self.diary.read_text().splitlines()]
        return {line[1] for line in lines if line[0] == word}

    def begins(self):
        """Waits for a workflow of its own; its command's pid."""
        wait_for("a workflow", 30, lambda: len(self.prompts("begin")) > self.begun or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return command_of(self.process.pid)

    def is_in_node(self):
        """Waits until the second node of its one long workflow sleeps; its command's pid."""
        wait_for("the node", 30, lambda: self.prompts("in") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return command_of(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def ends(self):
        assert self.process.wait(60) == 0, self.log.read_text()


def kill_stranger(pid):
    """SIGKILL for a process that is not our child, until it runs no more."""

    def ended():
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for("the command to end", 20, ended)


def jobs(tmp_path):
    """The rows of the jobs table: {prompt: state}; one for each run."""
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'comfydd_jobs'").fetchall():
            return {}  # the table is made on first use
        rows = connection.execute("SELECT prompt_id, state FROM comfydd_jobs").fetchall()
    assert len(rows) == len(dict(rows))
    return dict(rows)


def start_of(span):
    return span["start"]


@contextlib.contextmanager
def load():
    """A busy machine."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def kill_both(supervisor, account, chance):
    """In any order, near each other: in the middle of what the supervisor does about its command's death, too."""
    command = supervisor.begins()
    time.sleep(chance.random() * 0.3)  # the moment of the kill, not a wait for anything
    account.make_room()
    command_first = chance.choice([True, False])
    if command_first:
        kill_stranger(command)
        account.note()
        time.sleep(chance.choice([0, 0.01, 0.1]) * chance.random())
    supervisor.kill()
    kill_stranger(command)
    account.note()


def test_spans_and_jobs_arrive_once(tmp_path, flight_folder):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    account = kills.Account(flight_folder)
    with StrictAgent() as agent, load():
        for _ in range(ROUNDS):
            supervisor = Supervisor(tmp_path, agent.url, options=["--restart=never"])
            kill_both(supervisor, account, chance)
        last = Supervisor(tmp_path, agent.url, "once", options=["--restart=never"])
        last.ends()
        spans = account.check(agent)
    done = last.prompts("end")
    roots = {
        span["meta"]["workflow.prompt_id"]: span["meta"]["workflow.status"]
        for span in spans.values()
        if span["name"] == "comfyui.workflow.execute"
    }
    killed = {prompt for prompt, status in roots.items() if status == "killed"}
    print(f"{len(roots)} workflows, {len(killed)} of them killed")
    assert done <= set(roots) and killed
    # A workflow may be over, and the process be killed before it has said so.
    assert {roots[prompt] for prompt in done} == {"success"}
    assert jobs(tmp_path) == {prompt: "failed" for prompt in killed}


@pytest.mark.parametrize("then", ["lives", "is killed"])
def test_a_program_that_replaces_itself(tmp_path, flight_folder, then):
    """As ComfyUI-Manager's restart does: no end of the command, and told as what it was."""
    with StrictAgent() as agent:
        supervisor = Supervisor(tmp_path, agent.url, "exec", "sleep", 60, options=["--restart=never"])
        command = supervisor.is_in_node()
        if then == "lives":
            wait_for("the job's row", 30, lambda: (tmp_path / "jobs.db").exists() and jobs(tmp_path))
        kill_stranger(command)
        supervisor.process.wait(30)
        assert not list(flight_folder.iterdir())
        spans = agent.spans
        assert set(agent.ask("ids").values()) == {1}
    roots = [span for span in spans if span["name"] == "comfyui.workflow.execute"]
    first, second = sorted(roots, key=start_of)
    kills.assert_killed(first, "ProcessRestarted")
    kills.assert_killed(second, "ProcessKilled")
    assert jobs(tmp_path) == {root["meta"]["workflow.prompt_id"]: "failed" for root in roots}


def test_a_program_that_replaced_another_and_dies_at_once(tmp_path, flight_folder):
    """It tells so before its first workflow begins, not when the exporter's thread gets to work."""
    library = tmp_path / "no_exporter.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "no_exporter.c"], check=True, timeout=60)
    with StrictAgent() as agent:
        supervisor = Supervisor(tmp_path, agent.url, "exec", "die", options=["--restart=never"], LD_PRELOAD=library)
        supervisor.process.wait(60)
        assert not list(flight_folder.iterdir())
        spans = agent.spans
    first, second = sorted((span for span in spans if span["name"] == "comfyui.workflow.execute"), key=start_of)
    kills.assert_killed(first, "ProcessRestarted")
    kills.assert_killed(second, "ProcessKilled")


@pytest.mark.parametrize("by", ["a supervisor", "the next start"])
def test_a_machine_that_was_restarted(tmp_path, flight_folder, by):
    with StrictAgent() as agent:
        supervisor = Supervisor(tmp_path, agent.url, "sleep", 60)
        command = supervisor.is_in_node()
        supervisor.kill()
        kill_stranger(command)
        (path,) = flight_folder.iterdir()
        flight.move_to_another_boot(path)
        Supervisor(tmp_path, agent.url, "once", preload_only=by == "the next start").ends()
        assert not list(flight_folder.iterdir())
        spans = agent.spans
        assert set(agent.ask("ids").values()) == {1}
    (prompt,) = supervisor.prompts("begin") - supervisor.prompts("end")
    workflow, nodes = kills.split([span for span in spans if span["meta"]["workflow.prompt_id"] == prompt])
    kills.assert_killed(workflow, "HostRestarted")
    kills.assert_killed(nodes["2"], "HostRestarted")
    assert nodes["1"]["meta"]["node.result"] == "SUCCESS"
    if by == "a supervisor":
        assert jobs(tmp_path) == {prompt: "failed"}


@pytest.mark.parametrize("by", ["a supervisor", "the next start"])
def test_a_machine_that_was_restarted_after_a_program_that_replaced_itself(tmp_path, flight_folder, by):
    """Two memories of one process then: one of before its execv, one of after it."""
    account = kills.Account(flight_folder)
    supervisor = Supervisor(tmp_path, "http://127.0.0.1:1", "exec", "sleep", 60)
    command = supervisor.is_in_node()
    supervisor.kill()
    kill_stranger(command)
    account.note()
    begun = supervisor.prompts("begin")
    for path in flight_folder.iterdir():
        flight.move_to_another_boot(path)
    with StrictAgent() as agent:
        Supervisor(tmp_path, agent.url, "once", preload_only=by == "the next start").ends()
        spans = account.check(agent)
        assert set(agent.ask("ids").values()) == {1}
    first, second = sorted((spans[span] for span in account.open if "workflow.status" in spans[span]["meta"]), key=start_of)
    kills.assert_killed(first, "ProcessRestarted")
    kills.assert_killed(second, "HostRestarted")
    assert {first["meta"]["workflow.prompt_id"], second["meta"]["workflow.prompt_id"]} == begun
    if by == "a supervisor":
        assert jobs(tmp_path) == {prompt: "failed" for prompt in begun}


def test_agent_away_at_all_kills_and_back_later(tmp_path, flight_folder):
    chance = random.Random(7)
    account = kills.Account(flight_folder)
    with StrictAgent() as agent:
        url = agent.url
    for _ in range(5):
        kill_both(Supervisor(tmp_path, url, options=["--restart=never"]), account, chance)
    with StrictAgent("--port", url.rpartition(":")[2]) as agent:
        Supervisor(tmp_path, url, "once").ends()
        spans = account.check(agent)
        assert set(agent.ask("ids").values()) == {1}
    roots = [span for span in spans.values() if span["name"] == "comfyui.workflow.execute"]
    killed = {span["meta"]["workflow.prompt_id"] for span in roots if span["meta"]["workflow.status"] == "killed"}
    assert killed and jobs(tmp_path) == {prompt: "failed" for prompt in killed}


def test_every_death_is_recorded_however_many_wait_for_the_agent(tmp_path, flight_folder):
    with StrictAgent() as agent:
        url = agent.url
    for _ in range(17):
        unsupervised = Supervisor(tmp_path, url, "die", preload_only=True)
        assert unsupervised.process.wait(30) == -signal.SIGKILL
    assert len(kills.left(flight_folder)) == 16
    before = unsupervised.prompts("begin")
    supervisor = Supervisor(tmp_path, url, "die", options=["--restart=never"])
    assert supervisor.process.wait(30) == 137
    (newest,) = supervisor.prompts("begin") - before
    recorded = jobs(tmp_path)
    assert recorded[newest] == "failed" and set(recorded.values()) == {"failed"} and len(recorded) >= 16
    assert re.search(r"removed [12] old files? of spans", supervisor.log.read_text())
    with StrictAgent("--port", url.rpartition(":")[2]) as agent:
        Supervisor(tmp_path, url, "once").ends()
        killed = [span["meta"] for span in agent.spans if span["meta"].get("workflow.status") == "killed"]
    assert len(killed) == 15 and newest in {meta["workflow.prompt_id"] for meta in killed}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_command_of_root_that_went_on_as_another_user(tmp_path, monkeypatch):
    """As entrypoints of images do it, with gosu. What nobody else has written is left alone."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, StrictAgent() as agent:
        monkeypatch.setenv("COMFYDD_FLIGHT_FOLDER", folder)
        os.chmod(folder, 0o1777)
        assert Supervisor(tmp_path, agent.url, "nobody", preload_only=True).process.wait(30) == -signal.SIGKILL
        (others,) = os.listdir(folder)
        assert os.stat(f"{folder}/{others}").st_uid == 65534
        supervisor = Supervisor(tmp_path, agent.url, "nobody", options=["--restart=never"])
        assert supervisor.process.wait(30) == 137
        assert os.listdir(folder) == [others]
        assert jobs(tmp_path) == {"nobodys": "failed"}
        (workflow,) = [span for span in agent.spans if "workflow.status" in span["meta"]]
    kills.assert_killed(workflow)
