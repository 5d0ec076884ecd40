"""comfydd run where its surroundings are bad: no standard descriptors, a stderr that nobody reads or that takes nothing."""

import fcntl
import os
import signal
import subprocess

import pytest
from programs import HERE, environment

from rig.launcher import COMFYDD, NO_JOBS

pytestmark = pytest.mark.timeout(120)


def start(words, stderr, **variables):
    return subprocess.Popen(
        [os.fspath(word) for word in (COMFYDD, "run", *words)],
        env=environment(**{**NO_JOBS, **variables}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


# ---- stderr ----


def test_a_stderr_that_nobody_reads_any_more_does_not_end_the_command():
    """A log line raises SIGPIPE then. That is ours, and not to be passed on."""
    reading, writing = os.pipe()
    os.close(reading)
    child = start(["--", "sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"], writing)
    os.close(writing)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGUSR1)
    assert child.wait(20) == 7
    child.stdout.close()


def test_a_stderr_that_takes_nothing_holds_nothing_up():
    """As when a log collector hangs, or somebody has typed Ctrl-S."""
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * size)
    child = start(["--restart=failure", "--max-restarts=1", "--", "sh", "-c", "echo ran; exit 3"], writing)
    try:
        assert child.communicate(timeout=30)[0] == "ran\nran\n"
        assert child.returncode == 3
    finally:
        child.kill()
        os.close(reading)
        os.close(writing)


# ---- standard descriptors ----


def test_without_standard_descriptors_log_lines_go_into_no_file_of_ours(tmp_path):
    words = [COMFYDD, "run", f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state", "--"]
    words += ["sh", "-c", f"ls -l /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 >{tmp_path}/had"]
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run([*closing, *words], env=environment(), timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "had").read_text().count("/dev/null") >= 2  # its stdout is the file itself
    (spool,) = (tmp_path / "state").glob("*.spool")
    assert spool.read_bytes() == b""


# ---- others of our kind ----


def test_several_that_start_at_once_have_a_spool_each(tmp_path):
    library = tmp_path / "slow_close.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "slow_close.c", "-ldl"], check=True, timeout=60)
    words = [f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state", "--", "true"]
    children = [start(words, subprocess.PIPE, LD_PRELOAD=library, COMFYDD_JOBS_DB="") for _ in range(4)]
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert [code for _, code in ends] == [0] * 4, ends
