"""comfydd run over a long time: thirty deaths of a traced command in a row, valgrind's opinion of one, and a disk that is full."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import xml.etree.ElementTree as xml

import pytest
from programs import HERE, LIBRARY, environment
from strict_agent_process import StrictAgent

from rig import pythons
from rig.launcher import COMFYDD

pytestmark = pytest.mark.timeout(300)

FOLDER = HERE.parent / "fakes" / "comfyui" / "a3"
PYTHON = list(pythons.find().values())[-1]
RESTARTS = 30


def dying(diary):
    """A command that runs a workflow and dies in its second node."""
    return [PYTHON, HERE / "killed_program.py", diary, "die"]


def run(words, tmp_path, url, *options, before=(), seconds=200, **variables):
    command = [*before, COMFYDD, "run", f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state"]
    return subprocess.run(
        [os.fspath(word) for word in (*command, *options, "--", *words)],
        env=environment(DD_TRACE_AGENT_URL=url, PYTHONPATH=HERE, COMFYDD_LIB=LIBRARY, **variables),
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def job_states(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM comfydd_jobs")]


def traces(agent):
    roots = [span for span in agent.spans if span["name"] == "comfyui.workflow.execute"]
    assert {(root["meta"]["workflow.status"], root["meta"]["error.type"]) for root in roots} == {
        ("killed", "ProcessKilled")
    }
    assert set(agent.ask("ids").values()) == {1}
    return len(roots)


# ---- thirty restarts ----

# What its supervisor has: a line with memory in kB, descriptors, threads, children.
LOOK = r"""
status=/proc/$PPID/status
echo $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' $status) $(ls /proc/$PPID/fd | wc -l) \
    $(ls /proc/$PPID/task | wc -l) $(cat /proc/$PPID/task/*/children | wc -w) >>"$LOOKS"
exec "$@"
"""


def test_thirty_restarts_in_a_row_leak_nothing(tmp_path, flight_folder):
    library = tmp_path / "no_waiting.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "no_waiting.c", "-ldl"], check=True, timeout=60)
    looks = tmp_path / "looks"
    with StrictAgent() as agent:
        done = run(
            ["sh", "-c", LOOK, "sh", *dying(tmp_path / "diary")],
            tmp_path,
            agent.url,
            "--restart=failure",
            f"--max-restarts={RESTARTS}",
            LD_PRELOAD=library,
            LOOKS=looks,
        )
        assert traces(agent) == RESTARTS + 1
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    waits = [int(wait) for wait in re.findall(r"starting it again in (\d+) s", done.stderr)]
    assert waits == [1, 2, 4, 8, 16, 32] + [60] * (RESTARTS - 6)
    assert f"not started again: {RESTARTS} restarts in a row are the most" in done.stderr
    assert job_states(tmp_path / "jobs.db") == ["failed"] * (RESTARTS + 1)
    assert not list(flight_folder.iterdir())
    memory, *counts = zip(*([int(word) for word in line.split()] for line in looks.read_text().splitlines()))
    print(memory, counts)
    assert len(memory) == RESTARTS + 1
    for count in counts:  # after the first death all is there that will be; the database is open now and then
        assert min(count[-10:]) == min(count[2:12])
    assert min(memory[-10:]) - min(memory[2:12]) <= 64  # the database may be open, now or then
    assert max(memory) < 6 * 1024


# ---- valgrind ----


def test_valgrind_finds_nothing(tmp_path, flight_folder):
    report = tmp_path / "valgrind.xml"
    valgrind = ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible"]
    valgrind += ["--xml=yes", f"--xml-file={report}", "--child-silent-after-fork=yes"]
    with StrictAgent() as agent:
        options = ["--restart=failure", "--max-restarts=1", "--jobs-live"]
        done = run(dying(tmp_path / "diary"), tmp_path, agent.url, *options, before=valgrind)
        assert traces(agent) == 2
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert job_states(tmp_path / "jobs.db") == ["failed", "failed"]
    errors = [xml.tostring(error).decode() for error in xml.parse(report).getroot().findall("error")]
    assert not errors, errors[0]


# ---- a full disk ----


def test_a_disk_that_is_full_for_a_while(tmp_path, flight_folder):
    """Of the jobs' database and spool. The command does not notice, and its jobs are recorded once there is room."""
    disk, full = tmp_path / "disk", tmp_path / "disk" / "full"
    disk.mkdir()
    (tmp_path / "state").symlink_to(disk)
    (tmp_path / "jobs.db").symlink_to(disk / "jobs.db")
    script = f"mount -t tmpfs -o size=256k tmpfs {disk} || exit 99; cat /dev/zero >{full} 2>/dev/null;"
    script += f' "$@"; code=$?; cp {disk}/jobs.db* {tmp_path}/room; exit $code'
    (tmp_path / "room").mkdir()
    before = ["unshare", "--mount", "sh", "-c", script, "sh"]
    # Its second run makes room.
    words = ["sh", "-c", f'test -e {tmp_path}/diary || exec "$@"; rm {full}', "sh", *dying(tmp_path / "diary")]
    with StrictAgent() as agent:
        done = run(words, tmp_path, agent.url, "--restart=failure", before=before)
        if done.returncode in (1, 99) and "comfydd" not in done.stderr:
            pytest.skip("this user may not mount")
        assert traces(agent) == 1
    assert done.returncode == 0, done.stderr
    assert "the spool file" in done.stderr and "takes no more" in done.stderr
    assert job_states(tmp_path / "room" / "jobs.db") == ["failed"]
