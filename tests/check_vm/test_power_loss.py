"""A machine that loses its power, and what of a kill's leavings is on its disk afterwards: machine.py starts it twice with the
same disk, and selects a test each time. The first one ends with the machine."""

import collections
import contextlib
import os
import pathlib
import sqlite3

import pytest
from strict_agent_process import StrictAgent
from test_kills_supervisor import Supervisor

from rig import kills
from rig.process import wait_for

DISK = pathlib.Path("/disk")
NOBODY = "http://127.0.0.1:1"  # no agent
FLIGHTS = {name: DISK / name / "flights" for name in ("kept", "busy")} | {"lost": pathlib.Path("/dev/shm")}

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not DISK.is_mount(), reason="machine.py runs these with a disk"),
]


@pytest.fixture
def start(monkeypatch):
    """Starts a program of that name with this agent, and these words for killed_program.py."""
    started = []

    def start(name, url, *words, **options):
        monkeypatch.setenv("COMFYDD_FLIGHT_FOLDER", os.fspath(FLIGHTS[name]))
        started.append(Supervisor(DISK / name, url, *words, options=["--jobs-live"], **options))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.kill()


def jobs(name):
    with contextlib.closing(sqlite3.connect(DISK / name / "jobs.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'comfydd_jobs'").fetchall():
            return []  # the table is made on first use
        return connection.execute("SELECT prompt_id, state, reason FROM comfydd_jobs").fetchall()


def open_spans(name):
    return set().union(*(memory.open for memory in kills.left(FLIGHTS[name])))


def test_the_power_is_lost(start):
    for folder in (*(DISK / name for name in FLIGHTS), FLIGHTS["kept"], FLIGHTS["busy"]):
        folder.mkdir()
    # The kernel writes to the disk all the time, so that it ends in the middle of that.
    for name in ("dirty_writeback_centisecs", "dirty_expire_centisecs"):
        pathlib.Path("/proc/sys/vm", name).write_text("20")
    for name in ("kept", "lost"):
        start(name, NOBODY, "sleep", 600).begins()
        wait_for("the node", 60, lambda: len(open_spans(name)) == 2)
        wait_for("the job's row", 60, lambda: jobs(name))
    busy = start("busy", NOBODY, preload_only=True)
    wait_for("the first workflows", 100, lambda: len(busy.prompts("end")) > 100)
    os.sync()  # these will be there: the file system notes a new file, and what of it is written, every five seconds only
    wait_for("more workflows", 100, lambda: len(busy.prompts("end")) > 400)
    pathlib.Path("/dev/console").write_text("pull the plug\n")
    busy.process.wait()


def next_start(start, name):
    """Another workflow, and what an agent gets of those that were there before: the spans, by prompt. Several, if the slow
    machine does not deliver all before the first one's end; an answer that comes too late has spans come once more then."""
    diary, starts = DISK / name / "diary", 0
    before = diary.read_text()
    with StrictAgent() as agent:
        while not starts or any(FLIGHTS[name].iterdir()):
            start(name, agent.url, "once", preload_only=name == "busy").ends()
            starts += 1
        assert agent.ask("violations") == []
        assert max(agent.ask("ids").values()) <= starts
        by_prompt = collections.defaultdict(list)
        for span in {kills.identifier(span): span for span in agent.spans}.values():
            by_prompt[span["meta"]["workflow.prompt_id"]].append(span)
    own = {line.split()[1] for line in diary.read_text().removeprefix(before).splitlines()}
    assert own <= set(by_prompt)
    return {prompt: spans for prompt, spans in by_prompt.items() if prompt not in own}


def test_the_power_is_back(start):
    # On a disk: all is delivered.
    ((prompt, state, _),) = jobs("kept")
    assert state == "running"
    wanted = open_spans("kept")
    ((found, spans),) = next_start(start, "kept").items()
    assert found == prompt and wanted < {kills.identifier(span) for span in spans}
    workflow, nodes = kills.split(spans)
    kills.assert_killed(workflow, "HostRestarted")
    kills.assert_killed(nodes["2"], "HostRestarted")
    ((_, state, reason),) = [job for job in jobs("kept") if job[0] == prompt]
    assert state == "failed" and reason.startswith("HostRestarted: ")
    # In memory: nothing is left, and nobody can tell what became of the job.
    ((prompt, _, _),) = jobs("lost")
    assert next_start(start, "lost") == {}
    assert [state for of, state, _ in jobs("lost") if of == prompt] == ["running"]
    # In the middle of everything: what is on the disk need not fit together; what is sent is right.
    delivered = next_start(start, "busy")
    whole = [spans for spans in delivered.values() if len(spans) == 4]
    print(f"{len(whole)} of {len(delivered)} workflows are whole")
    assert len(whole) > 10
