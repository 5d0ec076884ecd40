"""comfydd run at a terminal: the command has it, and takes part in job control."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios

import pytest
from programs import HERE
from test_launcher import slow_kill

from rig.launcher import COMFYDD
from rig.process import wait_for

pytestmark = pytest.mark.timeout(60)

# What an interactive shell does: the command is a group of its own in the foreground; when it stops it is continued.
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    status = os.waitpid(pid, os.WUNTRACED)[1]
    os.tcsetpgrp(0, os.getpid())
    if not os.WIFSTOPPED(status):
        print("ended", os.waitstatus_to_exitcode(status), flush=True)
        sys.exit()
    print("stopped", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
"""

# By a descriptor: a signal that comes just before a read begins would be heard after it only.
PROGRAM = """
import os, select, signal, sys
signals, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH, signal.SIGCONT):
    signal.signal(number, lambda *_: None)
print("terminal", os.isatty(0) and os.isatty(2), os.tcgetpgrp(0) == os.getpgrp(), flush=True)
while True:
    ready = select.select([0, signals], [], [])[0]
    for number in os.read(signals, 64) if signals in ready else []:
        print("heard", number, flush=True)
    line = os.read(0, 1024).decode() if 0 in ready else None
    if line is not None:
        print("line", line, end="", flush=True)
    if line in ("", "end\\n"):
        sys.exit(7 if line else 0)
"""


class Terminal:
    """A terminal with the shell above on it, which runs a command."""

    def __init__(self, *words):
        self.text = self.seen = ""  # not read yet, and read
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", SHELL, *map(str, words)])
        os.set_blocking(self.fd, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)  # hangs up: whoever is left gets a SIGHUP
        os.waitpid(self.pid, 0)

    def type(self, keys):
        os.write(self.fd, keys)

    def read_until(self, pattern):
        """Waits until it stands there after what was read before."""

        def there():
            try:
                self.text += os.read(self.fd, 4096).decode().replace("\r", "")
            except OSError:  # nothing now, or no more
                pass
            return re.search(pattern, self.text)

        match = wait_for(f"{pattern!r} on the terminal", 20, there)
        seen, self.text = self.text[: match.end()], self.text[match.end() :]
        self.seen += seen
        return seen


def test_a_command_at_a_terminal(tmp_path):
    preload = [shutil.which("env"), f"LD_PRELOAD={slow_kill(tmp_path)}"]
    with Terminal(*preload, COMFYDD, "run", "--", sys.executable, "-c", PROGRAM) as terminal:
        terminal.read_until("terminal True True\n")
        terminal.type(b"hello\n")
        terminal.read_until("line hello\n")
        # Each key gives one signal: the terminal's to the whole group, and none of ours besides.
        terminal.type(b"\x03")
        terminal.read_until("heard 2\n")
        terminal.type(b"\x1c")
        terminal.read_until("heard 3\n")
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 20, 40, 0, 0))
        terminal.read_until("heard 28\n")
        # Ctrl-Z gives the shell its terminal back, fg goes on.
        terminal.type(b"\x1a")
        terminal.read_until("stopped\n")
        terminal.type(b"fg\n")
        terminal.read_until("heard 18\n")
        terminal.type(b"end\n")
        seen = terminal.read_until(r"ended \d+\n")
        assert "line end\n" in seen and seen.endswith("ended 7\n")
        assert [terminal.seen.count(f"heard {number}\n") for number in (2, 3, 20, 28)] == [1, 1, 0, 1]


def test_ctrl_c_twice_kills_after_the_grace_period():
    with Terminal(COMFYDD, "run", "--grace=0.2", "--", sys.executable, "-c", PROGRAM) as terminal:
        terminal.read_until("terminal True True\n")
        terminal.type(b"\x03")
        terminal.read_until("heard 2\n")
        terminal.type(b"\x03")
        assert "killed when it had not stopped in time" in terminal.read_until("ended 137\n")


def test_it_stops_while_it_waits_for_a_restart_too():
    with Terminal(COMFYDD, "run", "--restart=failure", "--max-restarts=1", "--", "false") as terminal:
        terminal.read_until("in 1 s")
        terminal.type(b"\x1a")
        terminal.read_until("stopped\n")
        terminal.type(b"fg\n")
        assert "not started again" in terminal.read_until("ended 1\n")


def test_ctrl_c_before_the_command_is_there(tmp_path):
    """The terminal has sent that to comfydd alone."""
    library = tmp_path / "slow_start.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "slow_start.c", "-ldl"], check=True, timeout=60)
    with Terminal(shutil.which("env"), f"LD_PRELOAD={library}", COMFYDD, "run", "--", "sleep", "60") as terminal:
        terminal.read_until("about to start\n")
        terminal.type(b"\x03")
        assert "was stopped with SIGINT" in terminal.read_until("ended 130\n")


def test_a_hangup_ends_it_and_is_no_failure(tmp_path):
    with Terminal(
        COMFYDD, "run", "--restart=failure", "--", "sh", "-c", f"echo $PPID >{tmp_path}/pid; sleep 60"
    ) as terminal:
        pid = wait_for(
            "the command", 20, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()
        )
        terminal.read_until("running sh")
    wait_for("comfydd to end", 20, lambda: not os.path.exists(f"/proc/{pid.strip()}"))
