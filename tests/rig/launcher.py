"""`comfydd run`: to its end, or as a process to talk to."""

import os
import pathlib
import subprocess
import sys

import pytest

from rig.process import Process, environment_without_datadog, wait_for
from rig.products import COMFYDD

NO_JOBS = {"COMFYDD_JOBS_DB": "none"}  # unless a test wants them recorded: not in this user's home

# Takes so many MiB, says so, and waits to be told to end.
HOG = "import sys; x = [b'x' * (1 << 20) for _ in range(int(sys.argv[1]))]; print(len(x), flush=True)"
HOG_AND_WAIT = HOG + "; sys.stdin.readline() or __import__('signal').pause()"


def hog(mebibytes, program=HOG):
    return ["--", sys.executable, "-c", program, str(mebibytes)]


def run(*words, seconds=60, before=(), cwd=None, **variables):
    """Runs `comfydd run WORDS` and returns what came of it; `before` stands before comfydd on the command line."""
    return subprocess.run(
        [os.fspath(word) for word in (*before, COMFYDD, "run", *words)],
        env={**environment_without_datadog(), **NO_JOBS, **variables},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def read_only_groups():
    """A command that makes control groups read-only for the next one, as containers have them."""
    mounts = pathlib.Path("/proc/mounts").read_text().splitlines()
    groups = [line.split()[1] for line in mounts if line.split()[2] in ("cgroup", "cgroup2")]
    remounts = "".join(f"mount -o remount,bind,ro {path} && " for path in groups)
    words = ["unshare", "--mount", "sh", "-c", f'{remounts}exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not remount control groups")
    return words


class Launched(Process):
    """A `comfydd run` that goes on. Use as a context manager."""

    def __init__(self, log, *words, before=(), **variables):
        env = {**environment_without_datadog(), **NO_JOBS, **variables}
        super().__init__("comfydd run", [*before, COMFYDD, "run", *words], log, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Without a grace period the second signal kills the command, and comfydd with it."""
        self.stop()

    def text(self):
        return self.log.read_text()

    def wait_to_say(self, text, seconds=20):
        def said():
            found = text in self.text()
            if not found:
                self.must_run()
            return found

        wait_for(f"{text!r} from the command", seconds, said)

    def wait(self, seconds=30):
        return self.child.wait(seconds)


class LaunchedApp:
    """An application under `comfydd run`, with these options of it; `before` as in run()."""

    def __init__(self, app, *options, before=()):
        self.app = app
        self.options = options
        self.before = before
        self.environment = {**app.environment, **NO_JOBS}

    def __str__(self):
        return str(self.app)

    def __getattr__(self, name):
        return getattr(self.app, name)

    def command(self, folder):
        return [*self.before, COMFYDD, "run", *self.options, "--", *self.app.command(folder)]


def command_of(pid):
    """The pid of the command that the `comfydd run` with this pid runs."""
    (child,) = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
