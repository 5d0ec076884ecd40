"""Processes that are killed: what they had recorded arrives, once, and what was open arrives closed.

The next process to trace a workflow sends it. COMFYDD_KILLS sets the number of kills at random moments; COMFYDD_KILLS_INTERVAL=1
has the payloads at their usual distance, and takes longer."""

import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from programs import HERE, LIBRARY, environment
from strict_agent_process import StrictAgent

from rig import kills, pythons
from rig.kills import assert_killed, identifier, left, split
from rig.process import wait_for

KILLS = int(os.environ.get("COMFYDD_KILLS", "40"))
PER_ROUND = 40  # kills with one agent and one folder
INTERVAL = float(os.environ.get("COMFYDD_KILLS_INTERVAL", "0.02"))  # seconds between the victim's payloads
STAND_INS = HERE.parent / "fakes" / "comfyui"
NODES = 3  # of the program's workflow

pytestmark = pytest.mark.timeout(120 + 6 * KILLS)


class Victim:
    """killed_program.py, preloaded."""

    def __init__(self, tmp_path, folder, url, *words, generation="a3", version=None, **variables):
        python = pythons.find()[version] if version else list(pythons.find().values())[-1]
        self.diary = tmp_path / f"diary-{time.monotonic_ns()}"
        self.diary.touch()
        self.log = self.diary.with_suffix(".log")
        settings = {
            "LD_PRELOAD": LIBRARY,
            "DD_TRACE_AGENT_URL": url,
            "COMFYDD_FLIGHT_FOLDER": folder,
            "DD_TRACE_WRITER_INTERVAL_SECONDS": str(INTERVAL),
            "PYTHONPATH": HERE,
            **variables,
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [python, HERE / "killed_program.py", self.diary, *map(str, words)],
                cwd=STAND_INS / generation,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def lines(self):
        return [line.split() for line in self.diary.read_text().splitlines()]

    def prompts(self, word):
        return {line[1] for line in self.lines() if line[0] == word}

    def said(self):
        """The library's lines, but the one about the executor that it has found."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith("comfydd: ") and "instrumented" not in line]

    def begins(self):
        """Waits for its first workflow."""
        wait_for("a workflow", 30, lambda: self.prompts("begin") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def is_in_node(self, workflow=1):
        """Waits until that workflow's second node sleeps: one that has only been noted in the diary may not have begun."""
        wait_for("the node", 30, lambda: len(self.prompts("in")) == workflow or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(30) == -signal.SIGKILL, self.log.read_text()

    def ends(self):
        assert self.process.wait(60) == 0, self.log.read_text()
        return self


def files(folder):
    return sorted(pathlib.Path(folder).iterdir())


def finals(agent):
    """The spans that are no snapshots."""
    return [span for span in agent.spans if "_dd.partial_version" not in span["metrics"]]


def of_prompt(spans, prompt):
    """The spans of a workflow's trace; of old generations only the job's id, which is the same here, is known."""
    traces = {span["trace_id"] for span in spans if span["meta"].get("job.id") == prompt}
    return [span for span in spans if span["trace_id"] in traces]


# ---- at random moments ----


@pytest.mark.parametrize("number", range(-(-KILLS // PER_ROUND)))
def test_what_was_recorded_arrives_once_and_what_was_open_arrives_closed(tmp_path, flight_folder, number):
    """Every fourth also replaces itself by another program, again and again."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    done, account = set(), kills.Account(flight_folder)
    with StrictAgent() as agent:
        for kill in range(min(PER_ROUND, KILLS - number * PER_ROUND)):
            words = ["again"] if kill % 4 == 3 else []
            victim = Victim(tmp_path, flight_folder, agent.url, *words).begins()
            time.sleep(chance.random() * min(15 * INTERVAL, 3))  # the moment of the kill, not a wait for anything
            account.make_room()
            victim.kill()
            done |= victim.prompts("end")
            account.note()
        last = Victim(tmp_path, flight_folder, agent.url, "once").ends()
        done |= last.prompts("end")
        spans = account.check(agent)
    for span, error in account.open.items():
        assert_killed(spans[span], error)
    # By the program's own account: whole traces of all that had ended.
    by_prompt = {}
    for span in spans.values():
        by_prompt.setdefault(span["meta"]["workflow.prompt_id"], []).append(span)
    assert len(done) > KILLS / 4
    for prompt in done:
        workflow, nodes = split(by_prompt[prompt])
        assert workflow["meta"]["workflow.status"] == "success" and len(nodes) == NODES
        assert {node["meta"]["node.result"] for node in nodes.values()} == {"SUCCESS"}
    for prompt in set(by_prompt) - done:
        assert {span["parent_id"] for span in by_prompt[prompt]} <= {0} | {
            span["span_id"] for span in by_prompt[prompt]
        }


# ---- one kill ----


@pytest.mark.parametrize("generation", ["r0", "r4", "x1", "a3"])
def test_the_node_that_was_running_is_named(tmp_path, flight_folder, generation):
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "sleep", 60, generation=generation).is_in_node()
        (prompt,) = victim.prompts("begin")
        victim.kill()
        (path,) = files(flight_folder)
        assert path.stat().st_mode & 0o777 == 0o600
        following = Victim(tmp_path, flight_folder, agent.url, "once", generation=generation).ends()
        assert files(flight_folder) == []
        workflow, nodes = split(of_prompt(finals(agent), prompt))
        assert agent.ask("violations") == []
        assert set(agent.ask("ids").values()) == {1}
    assert_killed(workflow)
    assert nodes["1"]["meta"]["node.result"] == "SUCCESS"
    assert_killed(nodes["2"])
    assert set(nodes) == {"1", "2"}  # the third was waiting at most
    assert nodes["2"]["metrics"]["memory.rss_bytes.after"] > 1 << 20
    assert workflow["metrics"]["memory.rss_bytes.after"] == nodes["2"]["metrics"]["memory.rss_bytes.after"]
    said = following.said()
    assert len(said) == 1 and f"process {victim.process.pid} ended (ProcessKilled)" in said[0]


def test_the_duration_goes_up_to_the_death(tmp_path, flight_folder):
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "sleep", 60).is_in_node()
        begun = time.monotonic()
        (prompt,) = victim.prompts("begin")
        wait_for("time to pass", 10, lambda: time.monotonic() > begun + 3)
        victim.kill()
        lived = time.monotonic() - begun
        wait_for("more time to pass", 10, lambda: time.monotonic() > begun + lived + 2)
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        workflow, nodes = split(of_prompt(finals(agent), prompt))
    for span in (workflow, nodes["2"]):
        assert lived - 2.5 < span["duration"] / 1e9 < lived + 1.5  # signs of life are a second apart, on an idle machine


def test_snapshots_are_completed(tmp_path, flight_folder):
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "sleep", 60, COMFYDD_LONG_RUNNING_AFTER="1").begins()
        wait_for("a snapshot", 30, lambda: agent.spans)
        snapshots = {identifier(span) for span in agent.spans if "_dd.partial_version" in span["metrics"]}
        assert len(snapshots) == 2
        (prompt,) = victim.prompts("begin")
        victim.kill()
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        spans = {identifier(span): span for span in of_prompt(finals(agent), prompt)}
        assert set(agent.ask("ids").values()) == {1}
    assert snapshots <= set(spans)
    for span in snapshots:
        assert_killed(spans[span])
        assert spans[span]["metrics"]["_dd.was_long_running"] == 1


def test_snapshots_of_a_workflow_that_began_before_the_agent(tmp_path, flight_folder):
    with StrictAgent("--start-after", "4") as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "sleep", 60, COMFYDD_LONG_RUNNING_AFTER="1").begins()
        wait_for("snapshots", 30, lambda: agent.spans)
        assert all("_dd.partial_version" in span["metrics"] for span in agent.spans)
        assert any("cannot reach the Datadog agent" in line for line in victim.said())
        victim.kill()


def test_what_was_taken_but_not_noted_arrives_twice_with_the_same_ids(tmp_path, flight_folder):
    """The agent has the payload, and the process is killed before it has the answer: sent again rather than perhaps lost."""
    with StrictAgent() as agent:
        agent.plan({"kind": "drip", "pause": 10})
        victim = Victim(tmp_path, flight_folder, agent.url, DD_TRACE_AGENT_TIMEOUT_SECONDS="60").begins()
        wait_for("a payload", 30, lambda: agent.ask("payloads"))
        victim.kill()
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        assert files(flight_folder) == []
        (_, taken), *_ = agent.ask("payloads")
        times = agent.ask("ids")
        assert taken and {span for span, count in times.items() if count == 2} == set(taken)
        assert set(times.values()) <= {1, 2}


def test_an_agent_that_is_down_at_the_kill_gets_all_when_it_is_back(tmp_path, flight_folder):
    with StrictAgent() as agent:
        url = agent.url
    done, wanted = set(), set()
    for _ in range(3):
        victim = Victim(tmp_path, flight_folder, url).begins()
        wait_for("some workflows", 30, lambda: len(victim.prompts("end")) > 5)
        victim.kill()
        done |= victim.prompts("end")
    for memory in left(flight_folder):
        wanted |= memory.finished | memory.open
    assert len(files(flight_folder)) == 3
    with StrictAgent() as agent:
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        assert files(flight_folder) == []
        times = agent.ask("ids")
        assert wanted <= set(times) and set(times.values()) == {1}
        for prompt in done:
            workflow, nodes = split(of_prompt(agent.spans, prompt))
            assert workflow["meta"]["workflow.status"] == "success" and len(nodes) == NODES


def test_an_agent_that_comes_back_during_the_next_run_gets_all(tmp_path, flight_folder):
    """The orphan is tried again once a sending has succeeded."""
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, "http://127.0.0.1:1", "sleep", 60).is_in_node()
        (prompt,) = victim.prompts("begin")
        victim.kill()
        agent.plan({"kind": "status", "status": 503, "times": 1})  # for the orphan
        following = Victim(tmp_path, flight_folder, agent.url).begins()
        wait_for("some workflows", 30, lambda: len(following.prompts("end")) > 5)
        following.kill()
        assert len(files(flight_folder)) == 2
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        assert files(flight_folder) == []
        workflow, _ = split(of_prompt(finals(agent), prompt))
        assert_killed(workflow)


def test_an_orderly_end_leaves_nothing_but_what_no_agent_has_taken(tmp_path, flight_folder):
    with StrictAgent() as agent:
        url = agent.url
        Victim(tmp_path, flight_folder, url, "once").ends()
        assert files(flight_folder) == []
        assert len(agent.spans) == NODES + 1
    unsent = Victim(tmp_path, flight_folder, url, "once").ends()
    assert "kept for the next start" in unsent.log.read_text()
    assert len(files(flight_folder)) == 1
    with StrictAgent() as agent:
        following = Victim(tmp_path, flight_folder, agent.url, "once").ends()
        assert files(flight_folder) == []
        workflows = [span for span in agent.spans if span["name"] == "comfyui.workflow.execute"]
        assert {span["meta"]["workflow.prompt_id"] for span in workflows} == unsent.prompts("end") | following.prompts("end")
        assert {span["meta"]["workflow.status"] for span in workflows} == {"success"}
        assert following.said() == []


def test_without_a_folder_for_files_that_is_told(tmp_path, flight_folder):
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder / "missing", agent.url, "once").ends()
        assert len(agent.spans) == NODES + 1
    (said,) = victim.said()
    assert "missing (No such file or directory)" in said and "a kill loses what was not sent" in said


def test_a_program_that_replaces_itself(tmp_path, flight_folder):
    """As ComfyUI-Manager's restart does: same pid, same start time."""
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "exec").ends()
        assert files(flight_folder) == []
        first, second = [line[1] for line in victim.lines() if line[0] == "begin"]
        assert victim.prompts("end") == {second}
        workflow, nodes = split(of_prompt(agent.spans, first))
        assert_killed(workflow, "ProcessRestarted")
        assert_killed(nodes["2"], "ProcessRestarted")
        assert nodes["1"]["meta"]["node.result"] == "SUCCESS"
        workflow, nodes = split(of_prompt(agent.spans, second))
        assert workflow["meta"]["workflow.status"] == "success" and len(nodes) == NODES
        assert set(agent.ask("ids").values()) == {1}


def test_a_child_that_outlives_the_process_does_not_keep_its_spans(tmp_path, flight_folder):
    with StrictAgent() as agent:
        victim = Victim(tmp_path, flight_folder, agent.url, "fork", 60).is_in_node(2)
        (child,) = [int(line[1]) for line in victim.lines() if line[0] == "child"]
        try:
            victim.kill()
            Victim(tmp_path, flight_folder, agent.url, "once").ends()
            os.kill(child, 0)  # it still lives
            assert files(flight_folder) == []
        finally:
            os.kill(child, signal.SIGKILL)
        assert {line[1] for line in victim.lines() if line[0] == "begin"} <= {
            span["meta"]["workflow.prompt_id"] for span in agent.spans
        }


# ---- a supervisor ----


def identity_of(pid):
    """PID.START, as COMFYDD_SUPERVISOR has it."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return f"{pid}.{stat.rpartition(')')[2].split()[19]}"


def test_a_supervisor_comes_first_as_long_as_it_lives(tmp_path, flight_folder):
    supervisor = subprocess.Popen(["sleep", "300"])
    with StrictAgent() as agent:
        try:
            identity = identity_of(supervisor.pid)
            victim = Victim(tmp_path, flight_folder, agent.url, "sleep", 60, COMFYDD_SUPERVISOR=identity).is_in_node()
            victim.kill()
            Victim(tmp_path, flight_folder, agent.url, "once").ends()
            assert len(files(flight_folder)) == 1
            assert not of_prompt(finals(agent), *victim.prompts("begin"))
        finally:
            supervisor.kill()
            supervisor.wait()
        Victim(tmp_path, flight_folder, agent.url, "once").ends()
        assert files(flight_folder) == []
        workflow, _ = split(of_prompt(finals(agent), *victim.prompts("begin")))
        assert_killed(workflow)
