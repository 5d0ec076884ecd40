"""Child processes with a log and an end, ports, and HTTP with deadlines."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


class Failed(Exception):
    """Something that the rig started or waited for did not do what it must; the text says what to look at."""


def free_ports(count):
    """Different loopback ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


def get(url, body=None, seconds=30, method=None):
    """What a server answers, as bytes; `body` is sent as JSON. Failed when it answers with an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json"} if data else {}, method=method
    )
    try:
        with _direct.open(request, timeout=seconds) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Failed(f"{url} answered {error.code}: {error.read()[:2000].decode(errors='replace')}") from None


def http(url, body=None, seconds=30):
    """As get(), and the answer is JSON."""
    return json.loads(get(url, body, seconds))


def environment_without_datadog():
    """Ours, less what steers a Datadog tracer or agent; but for the folder that tests/conftest.py has set."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DD_", "COMFYDD_")) or name == "COMFYDD_FLIGHT_FOLDER"
    }


def wait_for(what, seconds, probe):
    """The first true value of `probe()`, asked again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def doings(pid):
    """What the kernel says that a process, its threads and its children are doing; for the log of a test."""
    lines, children = [], []
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
        try:
            state = re.findall(r"^(?:Name|State|Sig\w+|ShdPnd):\t(.*)$", (task / "status").read_text(), re.M)
            lines.append(f"  {pid} {task.name}: {' '.join([*state, (task / 'wchan').read_text()])}")
            lines.append(f"      system call {(task / 'syscall').read_text().strip()}")
            children += (task / "children").read_text().split()
        except OSError:
            pass  # it has ended, or this kernel does not say
    return lines + [line for child in children for line in doings(child)]


class Process:
    """A running program. Its output goes to `log`; stop() ends it, by its own pid, however it is."""

    def __init__(self, name, argv, log, cwd=None, env=None):
        self.name = name
        self.log = pathlib.Path(log)
        with open(self.log, "wb") as output:
            self.child = subprocess.Popen(
                [os.fspath(argument) for argument in argv],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A background shell job ignores SIGINT, and would hand that down; stop() needs it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def runs(self):
        return self.child.poll() is None

    def must_run(self):
        if not self.runs():
            raise Failed(f"{self.name} ended with code {self.child.returncode}:\n{self.last_lines()}")

    def wait_until_it_answers(self, url, seconds):
        def answers():
            self.must_run()
            try:
                return get(url, seconds=5)
            except OSError:
                return None

        wait_for(f"{self.name} to answer on {url}", seconds, answers)

    def last_lines(self, count=25):
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-count:])

    def stop(self, seconds=20):
        """Interrupts it as Ctrl-C does and returns its exit code; kills it when it does not end in time."""
        if self.runs():
            self.child.send_signal(signal.SIGINT)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                print(f"{self.name} has not ended {seconds} s after SIGINT:", *doings(self.child.pid), sep="\n")
                print(self.last_lines())
                self.child.kill()
                self.child.wait()
        return self.child.returncode
