"""comfydd run's memory limit in a real hierarchy of cgroup v2. v1, and no hierarchy: test_launcher_memory.py."""

import contextlib
import http.client
import os
import pathlib
import re
import subprocess
import sys

import pytest
from strict_agent_process import StrictAgent

from rig.cgroups import V2, entering, group_of, groups_below, v2_group
from rig.launcher import HOG, HOG_AND_WAIT, Launched, hog, read_only_groups, run
from rig.process import wait_for
from rig.supervised import TOO_LARGE, Supervised

pytestmark = pytest.mark.timeout(120)

MiB = 1 << 20
USER = 1000
KILLED = "was killed for memory: it reached its limit of 0.06 GiB"


def members(group):
    return {int(line) for line in (group / "cgroup.procs").read_text().split()}


def lines(path):
    """A file of "name value" lines."""
    return dict(line.split() for line in path.read_text().splitlines())


@contextlib.contextmanager
def launched(tmp_path, group, *words):
    """A comfydd run in the group, once its command says something."""
    program = Launched(tmp_path / "log", *words, before=entering(group))
    with program:
        program.wait_to_say("ready")
        yield program


# ---- kills ----


def test_a_real_memory_kill_at_our_limit():
    with v2_group("limit") as (group, enter):
        done = run("--memory-limit=64M", "--restart=never", *hog(200), before=enter)
        assert groups_below(group) == []
        assert int(lines(group / "memory.events")["oom_kill"]) >= 1
    assert done.returncode == 137 and done.stdout == ""
    assert KILLED in done.stderr


def test_in_the_root_of_the_hierarchy_too():
    done = run("--memory-limit=64M", "--restart=never", *hog(200), before=entering(V2))
    assert done.returncode == 137 and KILLED in done.stderr


def test_a_kill_takes_all_that_is_in_the_group():
    """v1 kills the largest only; here its parent, which would go on, too."""
    script = f'{sys.executable} -c "{HOG}" 200; echo survived'
    with v2_group("together") as (_, enter):
        done = run("--memory-limit=64M", "--restart=never", "--", "sh", "-c", script, before=enter)
    assert done.returncode == 137 and done.stdout == ""
    assert KILLED in done.stderr


def test_it_is_started_again_and_given_up():
    with v2_group("again") as (group, enter):
        done = run("--memory-limit=64M", "--restart=oom", "--max-restarts=1", *hog(200), before=enter)
        assert groups_below(group) == []
    assert done.returncode == 137
    assert done.stderr.count(KILLED) == 2
    assert "starting it again in 1 s (restart 1 of at most 1)" in done.stderr
    assert "not started again: 1 restarts in a row are the most" in done.stderr


def test_a_memory_kill_by_the_container():
    with v2_group("container", 64 * MiB) as (_, enter):
        done = run("--memory-limit=1G", "--restart=never", *hog(200), before=enter)
    assert done.returncode == 137
    assert "by the machine or the container, below its own limit of 1.00 GiB" in done.stderr


def test_a_memory_kill_by_the_container_without_a_limit_of_ours():
    with v2_group("bare", 64 * MiB) as (_, enter):
        done = run("--memory-limit=none", "--restart=never", *hog(200), before=enter)
    assert done.returncode == 137
    assert "was killed for memory by the machine or the container" in done.stderr


@pytest.mark.parametrize("limit", ["none", "1G"])
def test_the_machine_runs_out_of_memory(limit):
    first = "open('/proc/self/oom_score_adj', 'w').write('1000');"
    before = lines(pathlib.Path("/proc/vmstat"))["oom_kill"]
    done = run(
        f"--memory-limit={limit}", "--restart=never", *hog(1000, first + HOG), before=entering(V2), seconds=100
    )
    assert lines(pathlib.Path("/proc/vmstat"))["oom_kill"] != before
    assert done.returncode == 137
    if limit == "none":
        assert "was killed while the machine's out-of-memory killer was at work" in done.stderr
    else:
        assert "by the machine or the container, below its own limit of 1.00 GiB" in done.stderr


def test_a_kill_below_another_limit_is_not_taken_for_ours():
    """A comfydd run within a comfydd run: it was the inner one's limit."""
    inner = ["build/comfydd", "run", "--memory-limit=64M", "--restart=never", *hog(200)]
    with v2_group("nested") as (group, enter):
        done = run("--memory-limit=200M", "--restart=never", "--", *inner, before=enter)
        assert groups_below(group) == []
    assert done.returncode == 137
    inner_said, outer_said = re.findall("comfydd: the command (.*)", done.stderr)
    assert KILLED.partition(": ")[2] in inner_said
    assert "reached its limit" not in outer_said and "killed for memory" in outer_said


# ---- containers ----


def container(group, *options):
    """A command that becomes the next command as a container's first process: with namespaces of its own, in which the group,
    where it is alone, is the root of the hierarchy."""
    mounts = f'umount {V2} && mount -t cgroup2 {" ".join(options)} cgroup2 {V2} && mount -t proc proc /proc'
    outside = ["unshare", "--pid", "--fork", "--mount"]  # its own process stays where it is
    return [*outside, *entering(group), "unshare", "--cgroup", "sh", "-c", f'{mounts} && exec "$@"', "sh"]


def test_the_limit_in_a_container():
    with v2_group("contained") as (group, _):
        done = run("--memory-limit=64M", "--restart=never", *hog(200), before=container(group))
        assert groups_below(group) == []
    assert done.returncode == 137 and KILLED in done.stderr


def test_the_limit_of_a_container_that_may_only_read_it():
    with v2_group("reading", 64 * MiB) as (group, _):
        done = run("--memory-limit=1G", "--restart=never", *hog(200), before=container(group, "-o", "ro"))
    assert done.returncode == 137
    assert "RLIMIT_DATA is set" in done.stderr
    assert "was killed for memory by the machine or the container" in done.stderr


# ---- groups ----


def test_what_the_groups_look_like(tmp_path):
    """Only groups without processes may have groups with the memory controller: we leave ours."""
    program = "print('ready', flush=True);" + HOG_AND_WAIT
    with v2_group("look") as (group, _):
        with launched(tmp_path, group, "--memory-limit=64M", *hog(1, program)) as comfydd:
            name = group_of(comfydd.child.pid)
            assert sorted(groups_below(group)) == [name, f"{name}-launcher"]
            assert members(group) == set()
            assert members(group / f"{name}-launcher") == {comfydd.child.pid}
            assert len(members(group / name)) == 1
            assert (group / name / "memory.max").read_text() == f"{64 * MiB}\n"
            assert (group / name / "memory.oom.group").read_text() == "1\n"
            assert (group / name / "memory.high").read_text() == "max\n"
        assert groups_below(group) == []
        assert (group / "cgroup.subtree_control").read_text() == ""


def test_nearness_is_told(tmp_path):
    program = "print('ready', flush=True);" + HOG_AND_WAIT
    with v2_group("near") as (group, _):
        with launched(tmp_path, group, "--memory-limit=64M", *hog(53, program)) as comfydd:
            comfydd.wait_to_say("are in use; at the limit the command is killed")


def test_what_outlives_the_command_goes_on_without_a_limit():
    with v2_group("daemon") as (group, enter):
        script = "sleep 60 >/dev/null 2>&1 & echo $!"
        done = run("--memory-limit=64M", "--", "sh", "-c", script, before=enter)
        daemon = int(done.stdout)
        try:
            assert done.returncode == 0
            assert groups_below(group) == []
            assert members(group) == {daemon}
        finally:
            os.kill(daemon, 9)


def test_a_launcher_that_was_killed_does_not_hinder_the_next(tmp_path):
    program = "print('ready', flush=True);" + HOG_AND_WAIT
    with v2_group("killed") as (group, _):
        with launched(tmp_path, group, "--memory-limit=64M", *hog(1, program)) as comfydd:
            name = group_of(comfydd.child.pid)
            (command,) = members(group / name)
            comfydd.child.kill()
            comfydd.child.wait(20)
        launcher = group / f"{name}-launcher"
        done = run("--memory-limit=64M", "--restart=never", *hog(200), before=entering(launcher))
        assert done.returncode == 137 and KILLED in done.stderr
        os.kill(command, 9)
        for name in groups_below(group):
            wait_for("the group to be empty", 20, lambda: not members(group / name))
            (group / name).rmdir()


def test_what_launchers_that_were_killed_have_left_is_removed(tmp_path):
    """In the root, which may have processes beside groups with the controller."""
    program = "print('ready', flush=True);" + HOG_AND_WAIT
    with launched(tmp_path, V2, "--memory-limit=64M", *hog(1, program)) as comfydd:
        name = group_of(comfydd.child.pid)
        (command,) = members(V2 / name)
        comfydd.child.kill()
        comfydd.child.wait(20)
    os.kill(command, 9)
    wait_for("the group to be empty", 20, lambda: not members(V2 / name))
    run("--memory-limit=64M", "true", before=entering(V2))
    assert name not in groups_below(V2)
    assert group_of(1) in groups_below(V2)  # this machine's own launcher lives


# ---- where no group can be made ----


def refused(done, why):
    """The limit is one on allocations then."""
    assert done.returncode == 1 and "MemoryError" in done.stderr
    assert "RLIMIT_DATA is set" in done.stderr and "probably out of memory" in done.stderr
    assert why in done.stderr, done.stderr


def test_a_hierarchy_that_is_read_only():
    done = run("--memory-limit=64M", "--restart=never", *hog(100), before=read_only_groups())
    refused(done, "its files cannot be written")


def test_others_in_our_group():
    with v2_group("others") as (group, enter):
        with subprocess.Popen([*enter, "sleep", "60"]) as other:
            wait_for("the other", 20, lambda: members(group))
            done = run("--memory-limit=64M", "--restart=never", *hog(100), before=enter)
            assert groups_below(group) == []
            other.kill()
    refused(done, "other processes are in our group (for a systemd unit: Delegate=memory)")


def test_no_memory_controller():
    with v2_group("outer") as (outer, _):
        group = outer / "inner"  # the outer group does not pass its controllers on
        group.mkdir()
        done = run("--memory-limit=64M", "--restart=never", *hog(100), before=entering(group))
        group.rmdir()
    refused(done, "the memory controller is not there")


def as_user(group):
    """A command that enters the group, and becomes the next command as a user without rights."""
    program = f"import os, sys; os.setgid({USER}); os.setuid({USER}); os.execvp(sys.argv[1], sys.argv[1:])"
    return [*entering(group), sys.executable, "-c", program]


def test_a_group_that_is_delegated_to_a_user():
    """As systemd does it: the group, and these files in it, are the user's."""
    with v2_group("delegated") as (group, _):
        for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control", group / "cgroup.threads"):
            os.chown(path, USER, USER)
        done = run("--memory-limit=64M", "--restart=never", *hog(200), before=as_user(group))
        assert groups_below(group) == []
    assert done.returncode == 137 and KILLED in done.stderr


def test_a_group_that_is_not_delegated():
    with v2_group("undelegated") as (group, _):
        done = run("--memory-limit=64M", "--restart=never", *hog(100), before=as_user(group))
    refused(done, "its files cannot be written")


# ---- a traced process ----


def test_a_memory_kill_in_the_middle_of_a_node(tmp_path):
    with v2_group("traced") as (group, enter), StrictAgent() as agent:
        with Supervised(tmp_path, agent.url, "--memory-limit=100M", before=enter) as application:
            with contextlib.suppress(http.client.HTTPException, OSError):  # it may die before it has answered
                application.submit(TOO_LARGE, {"job_id": "job-7"})
            application.said(r"(?s)listening on port.*listening on port", 60)  # its successor
            (job,) = wait_for("the job's row", 20, application.jobs)
        spans = {span["name"]: span for span in agent.spans if span["error"]}
        assert groups_below(group) == []
    assert spans["comfyui.workflow.execute"]["meta"]["workflow.status"] == "killed"
    for span in spans.values():
        assert span["meta"]["error.type"] == "OOMKilled"
        assert "it reached its limit of 0.10 GiB" in span["meta"]["error.message"]
    assert job[0] == "job-7" and job[2] == "failed" and job[5] == "EmptyImage"
