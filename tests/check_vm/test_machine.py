"""comfydd run as the first process of a machine."""

import os
import pathlib
import subprocess

from rig.cgroups import group_of
from rig.process import wait_for


def test_comfydd_is_init():
    assert pathlib.Path("/proc/1/comm").read_text() == "comfydd\n"
    assert os.getppid() == 1


def test_orphans_are_reaped():
    script = "sleep 0.1 & echo $!; (sleep 0.2 & echo $!)"
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30).stdout
    for pid in said.split():
        wait_for("the orphan to be reaped", 20, lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_command_is_in_its_group():
    """The root has processes of its own; its groups may have limits all the same."""
    assert pathlib.Path("/proc/1/cgroup").read_text() == "0::/\n"
    assert pathlib.Path("/proc/self/cgroup").read_text() == f"0::/{group_of(1)}\n"
    assert pathlib.Path(f"/sys/fs/cgroup/{group_of(1)}/memory.max").read_text() == f"{350 << 20}\n"
