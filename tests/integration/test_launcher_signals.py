"""comfydd run hears signals at once, whatever it is waiting for."""

import os
import signal
import socket
import sys
import time

import pytest
from left_behind import killed
from test_launcher import LISTENER

from rig.launcher import Launched, command_of
from rig.process import free_ports, wait_for

pytestmark = pytest.mark.timeout(120)

PATIENCE = 10  # seconds that an agent is waited for
AT_ONCE = 3  # seconds, on a busy machine


@pytest.fixture
def silent_agent():
    """The address of an agent that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def away():
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def test_while_an_agent_does_not_answer(tmp_path, flight_folder, silent_agent, away):
    """It is asked while the command runs, for what a dead process has left."""
    killed(tmp_path, flight_folder, away)
    with Launched(tmp_path / "log", "--", sys.executable, "-c", LISTENER, DD_TRACE_AGENT_URL=silent_agent,
                  DD_TRACE_AGENT_TIMEOUT_SECONDS=str(PATIENCE)) as launched:
        launched.wait_to_say("ready")
        slowest, until = 0, time.monotonic() + 4
        for count in range(1, 1000):
            began = time.monotonic()
            launched.child.send_signal(signal.SIGUSR2)
            wait_for("the signal", 20, lambda: launched.text().count("heard 12") >= count)
            slowest = max(slowest, time.monotonic() - began)
            if time.monotonic() > until:
                break
        assert slowest < AT_ONCE
        launched.child.send_signal(signal.SIGUSR1)
        assert launched.wait() == 40
    assert len(list(flight_folder.iterdir())) == 1


def test_while_the_spans_of_a_dead_command_are_kept_for_an_agent(tmp_path, flight_folder, away):
    killed(tmp_path, flight_folder, away)
    with Launched(tmp_path / "log", "--", "sleep", "60", DD_TRACE_AGENT_URL=away) as launched:
        wait_for("the command", 20, lambda: "running sleep" in launched.text())
        os.kill(command_of(launched.child.pid), signal.SIGKILL)
        launched.wait_to_say("was killed with SIGKILL")
        began = time.monotonic()
        launched.child.send_signal(signal.SIGTERM)
        assert launched.wait() == 137
        assert time.monotonic() - began < 2  # of the three that it would wait for the agent
        assert "are kept until the Datadog agent takes them" in launched.text()
    assert len(list(flight_folder.iterdir())) == 1


IGNORING = ["sh", "-c", "trap '' HUP INT TERM; exec \"$@\"", "sh"]


def test_ignored_from_above_they_are_passed_on_and_stop_nothing(tmp_path):
    """As by nohup, and by a shell for what it starts in the background."""
    with Launched(tmp_path / "log", "--grace=0", "--", sys.executable, "-c", LISTENER, before=IGNORING) as launched:
        launched.wait_to_say("ready")
        for count in range(1, 4):
            launched.child.send_signal(signal.SIGINT)
            wait_for("the signal", 20, lambda: launched.text().count("heard 2\n") >= count)
        launched.child.send_signal(signal.SIGUSR1)
        assert launched.wait() == 40
        assert "ended with exit code 40" in launched.text()


def test_ignored_from_above_they_do_not_end_the_wait_for_a_restart(tmp_path):
    options = ["--restart=failure", "--max-restarts=2"]
    with Launched(tmp_path / "log", *options, "--", "false", before=IGNORING) as launched:
        launched.wait_to_say("in 2 s")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            launched.child.send_signal(number)
        assert launched.wait() == 1
        assert "not started again: 2 restarts in a row are the most" in launched.text()
