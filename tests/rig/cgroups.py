"""Control groups of a test's own making."""

import contextlib
import os
import pathlib

import pytest

from rig.process import wait_for

V2 = pathlib.Path("/sys/fs/cgroup")


def our_group():
    """The directory of our own group in v1's memory hierarchy."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory" + path)
    return None


def entering(group):
    """A command that enters the group, and becomes the next command."""
    return ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]


def group_of(pid):
    """The name of the group that the `comfydd run` with this pid makes for its command."""
    return f"comfydd-{os.stat(f'/proc/{pid}/ns/pid').st_ino}-{pid}"


def groups_below(group):
    return [entry.name for entry in group.iterdir() if entry.is_dir()]


@contextlib.contextmanager
def _group(parent, name, limit, limit_file):
    group = parent / f"comfydd-test-{name}-{os.getpid()}"
    group.mkdir()
    try:
        if limit:
            (group / limit_file).write_text(str(limit))
        yield group, entering(group)
    finally:
        wait_for("the group to be empty", 20, lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def v1_group(name, limit=None):
    """A group of our making in the v1 memory hierarchy, and a command that enters it before it becomes the next command."""
    parent = our_group()
    if not parent or not os.access(parent, os.W_OK):
        pytest.skip("no v1 memory hierarchy that this user may write")
    return _group(parent, name, limit, "memory.limit_in_bytes")


def v2_group(name, limit=None):
    """The same in v2, with the memory controller, below the root of the hierarchy."""
    (V2 / "cgroup.subtree_control").write_text("+memory")
    return _group(V2, name, limit, "memory.max")
