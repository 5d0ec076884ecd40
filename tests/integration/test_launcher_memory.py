"""comfydd run's memory limit: a control group where one can be made, RLIMIT_DATA elsewhere."""

import mmap
import os
import signal
import subprocess
import sys

import pytest

from rig.cgroups import group_of, groups_below, v1_group
from rig.launcher import HOG, HOG_AND_WAIT, Launched, hog, read_only_groups, run
from rig.process import wait_for

pytestmark = pytest.mark.timeout(120)

MiB = 1 << 20
# ---- cgroup v1 ----


def test_a_real_memory_kill_at_our_limit():
    with v1_group("limit") as (group, enter):
        done = run("--memory-limit=64M", "--restart=never", *hog(200), before=enter)
        assert groups_below(group) == []
    assert done.returncode == 137 and done.stdout == ""
    assert "was killed for memory: it reached its limit of 0.06 GiB" in done.stderr


def test_a_start_that_fails_leaves_no_group(tmp_path):
    with v1_group("failed") as (group, enter):
        assert run("no-such-command-here", before=enter).returncode == 127
        done = run("--jobs-db=mysql://x", f"--state={tmp_path}", "true", before=enter)
        assert groups_below(group) == []
    assert done.returncode == 125 and "the database must be sqlite:PATH or postgresql://" in done.stderr


def test_groups_of_launchers_that_were_killed_are_removed(tmp_path):
    """Empty ones of ours: not those of launchers that live, and nobody else's."""
    with v1_group("left") as (group, enter):
        kept = ["comfydd-mine", "comfydd-0-4194305", "other"]  # 4194305 is no pid, and 0 no namespace
        for name in kept:
            (group / name).mkdir()
        with Launched(tmp_path / "log", "--memory-limit=64M", "sleep", "60", before=enter) as launched:
            launched.wait_to_say("running")
            (name,) = set(groups_below(group)) - set(kept)
            command = wait_for("the command", 20, lambda: (group / name / "cgroup.procs").read_text())
            run("--memory-limit=64M", "true", before=enter)
            assert name in groups_below(group)
            launched.child.kill()
            launched.child.wait(20)
        run("--memory-limit=64M", "true", before=enter)
        assert name in groups_below(group)  # the command goes on
        os.kill(int(command), signal.SIGKILL)
        wait_for("the group to be empty", 20, lambda: not (group / name / "cgroup.procs").read_text())
        run("--memory-limit=64M", "true", before=enter)
        assert sorted(groups_below(group)) == sorted(kept)
        for name in kept:
            (group / name).rmdir()


# One of four that begin to take memory when all are there, and have it for a while.
ONE_OF_FOUR = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / str(os.getpid())).touch()
while len(list(folder.iterdir())) < 4:
    time.sleep(0.01)
x = [b"x" * (1 << 20) for _ in range(40)]
time.sleep(2)
print(len(x), flush=True)
"""


def test_the_limit_holds_for_all_descendants_together(tmp_path):
    """Four of 40 MiB each, none of which is too large."""
    script = 'for i in 1 2 3 4; do "$@" & done; wait; exit 1'
    with v1_group("together") as (group, enter):
        words = ["sh", "-c", script, "sh", sys.executable, "-c", ONE_OF_FOUR, tmp_path]
        done = run("--memory-limit=100M", "--restart=never", "--", *words, before=enter)
        assert groups_below(group) == []
    assert len(done.stdout.splitlines()) < 4
    assert "it reached its limit of 0.10 GiB (peak 0.10 GiB)" in done.stderr


def test_a_memory_kill_by_the_machine(tmp_path):
    """As a machine tells of it on which no groups can be seen."""
    counts = tmp_path / "vmstat"
    counts.write_text("oom_kill 3\n")
    script = f'mount -t tmpfs tmpfs /sys/fs/cgroup && mount --bind {counts} /proc/vmstat && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*before, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not mount")
    done = run("--restart=never", "--", "sh", "-c", f"echo oom_kill 4 >{counts}; kill -9 $$", before=before)
    assert done.returncode == 137
    assert "was killed while the machine's out-of-memory killer was at work" in done.stderr


def test_a_memory_kill_by_the_container():
    with v1_group("container", 64 * MiB) as (_, enter):
        done = run("--memory-limit=1G", "--restart=never", *hog(200), before=enter)
    assert done.returncode == 137
    assert "by the machine or the container, below its own limit of 1.00 GiB" in done.stderr


def test_a_memory_kill_by_the_container_without_a_limit_of_ours():
    with v1_group("bare", 64 * MiB) as (_, enter):
        done = run(
            "--memory-limit=none",
            "--restart=never",
            "--",
            "sh",
            "-c",
            f'{sys.executable} -c "{HOG}" 200; exit $?',
            before=enter,
        )
    assert done.returncode == 137
    assert "was killed for memory by the machine or the container" in done.stderr


def test_one_whose_child_was_killed_for_memory_is_started_again(tmp_path):
    """A start script need not tell what its child died of. A kill long before counts for nothing."""
    script = f'test -e {tmp_path}/been && exit 0; touch {tmp_path}/been; {sys.executable} -c "{HOG}" 200; exit 1'
    with v1_group("child", 64 * MiB) as (_, enter):
        done = run("--memory-limit=none", "--", "sh", "-c", script, before=enter)
        assert done.returncode == 0, done.stderr
        assert "was killed for memory by the machine or the container" in done.stderr
        done = run("--memory-limit=none", "--", "sh", "-c", "exit 1", before=enter)
        assert done.returncode == 1 and "ended with exit code 1" in done.stderr  # that kill is not its own
        (tmp_path / "been").unlink()
        done = run("--memory-limit=none", "--", "sh", "-c", script.replace("; exit", "; sleep 7; exit"), before=enter)
        assert done.returncode == 1 and "ended with exit code 1" in done.stderr


def test_it_is_started_again_after_a_memory_kill(tmp_path):
    script = f'test -e {tmp_path}/been && exit 0; touch {tmp_path}/been; exec {sys.executable} -c "{HOG}" 200'
    with v1_group("again") as (group, enter):
        done = run("--memory-limit=64M", "--", "sh", "-c", script, before=enter)
        assert groups_below(group) == []
    assert done.returncode == 0
    assert "killed for memory" in done.stderr and "starting it again in 1 s" in done.stderr


def test_the_limit_is_the_one_asked_for_and_nearness_is_told(tmp_path):
    with v1_group("near") as (group, _):
        with Launched(tmp_path / "log", "--memory-limit=100M", *hog(88, HOG_AND_WAIT)) as launched:
            launched.wait_to_say("are in use")
            (name,) = [n for n in groups_below(group.parent) if n == group_of(launched.child.pid)]
            assert (group.parent / name / "memory.limit_in_bytes").read_text() == f"{100 * MiB}\n"
        assert not (group.parent / name).exists()


# Takes so many MiB for some seconds, twice.
TWICE = """
import mmap, sys, time
size = int(sys.argv[1]) << 20
for _ in range(2):
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, 4096):
            memory[at] = 1
        time.sleep(2.5)
    time.sleep(2.5)
"""


def test_nearness_is_told_again_after_it_was_far():
    with v1_group("twice") as (_, enter):
        done = run("--memory-limit=100M", *hog(88, TWICE), before=enter)
    assert done.returncode == 0 and done.stderr.count("are in use") == 2


def test_a_memory_kill_while_stopping_is_told_and_not_restarted(tmp_path):
    program = (
        "import signal; print('ready', flush=True); signal.sigwait({signal.SIGTERM});"
        "x = [b'x' * (1 << 20) for _ in range(200)]; signal.pause()"
    )
    program = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM});" + program
    with v1_group("stopping"):  # skips where there are none
        with Launched(
            tmp_path / "log", "--memory-limit=64M", "--", sys.executable, "-c", program
        ) as launched:
            launched.wait_to_say("ready")
            launched.child.send_signal(signal.SIGTERM)
            assert launched.wait() == 137
    assert "killed for memory" in launched.text() and launched.text().count("ready") == 1


# ---- RLIMIT_DATA ----


def test_without_a_group_allocations_fail_at_the_limit():
    done = run("--memory-limit=200M", "--restart=never", *hog(400), before=read_only_groups())
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    assert "RLIMIT_DATA is set" in done.stderr and "its files cannot be written" in done.stderr
    assert "probably out of memory" in done.stderr


def test_without_a_group_it_is_started_again_too(tmp_path):
    script = f'test -e {tmp_path}/been && exit 0; touch {tmp_path}/been; exec {sys.executable} -c "{HOG}" 400'
    done = run("--memory-limit=200M", "--", "sh", "-c", script, before=read_only_groups())
    assert done.returncode == 0 and "starting it again in 1 s" in done.stderr


def test_without_a_group_it_is_told_of_any_descendant(tmp_path):
    """Also of one that has been left by its parent, and ended before the command."""
    hog = f'{sys.executable} -c "{HOG}" 400 & echo $! >{tmp_path}/pid'
    script = f"({hog}); while kill -0 $(cat {tmp_path}/pid) 2>/dev/null; do sleep 0.01; done; exit 1"
    done = run("--memory-limit=200M", "--restart=never", "--", "sh", "-c", script, before=read_only_groups())
    assert done.returncode == 1 and "probably out of memory" in done.stderr


def test_without_a_group_a_failure_far_from_the_limit_is_one():
    done = run(
        "--memory-limit=2G", "--", sys.executable, "-c", "raise MemoryError", before=read_only_groups()
    )
    assert done.returncode == 1 and "ended with exit code 1" in done.stderr


def test_address_space_is_free():
    """CUDA reserves hundreds of GiB at its start, without access; torch maps model files privately."""
    reserve = (
        "import ctypes; libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p;"
        f"p = libc.mmap(None, ctypes.c_size_t(1 << 40), 0, {mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} | 0x4000, -1, 0);"
        "print('reserved' if p not in (None, 2**64 - 1) else 'refused')"
    )
    done = run("--memory-limit=200M", "--", sys.executable, "-c", reserve, before=read_only_groups())
    assert (done.returncode, done.stdout) == (0, "reserved\n")


def test_none_is_none():
    limits = "grep -E 'Max (data|address)' /proc/self/limits; grep memory /proc/self/cgroup"
    plain = subprocess.run(["sh", "-c", limits], capture_output=True, text=True, timeout=30)
    done = run("--memory-limit=none", "--", "sh", "-c", limits)
    assert done.stdout == plain.stdout
    assert "no memory limit" in done.stderr
