"""Control groups of a test's own making, in the v1 memory hierarchy."""

import contextlib
import os
import pathlib

import pytest

from rig.process import wait_for


def our_group():
    """The directory of our own group in v1's memory hierarchy."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory" + path)
    return None


@contextlib.contextmanager
def v1_group(name, limit=None):
    """A group of our making, and a command that enters it before it becomes the next command."""
    parent = our_group()
    if not parent or not os.access(parent, os.W_OK):
        pytest.skip("no v1 memory hierarchy that this user may write")
    group = parent / f"comfydd-test-{name}-{os.getpid()}"
    group.mkdir()
    try:
        if limit:
            (group / "memory.limit_in_bytes").write_text(str(limit))
        yield group, ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        wait_for("the group to be empty", 20, lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
