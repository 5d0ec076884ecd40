"""An agent that restarts, stalls, refuses and breaks off, and 100,000 node spans on their way to it: each arrives once, or
is counted as dropped. The strict agent checks every payload that it accepts."""

import functools
import json
import pathlib
import subprocess
import time

import pytest
from strict_agent_process import StrictAgent

from rig.process import environment_without_datadog

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DRIVER = "build/release/tests/integration/span_driver"
PER_WORKFLOW = 200
MANY = 100_000

pytestmark = pytest.mark.timeout(300)


@functools.lru_cache(None)
def driver():
    subprocess.run(["make", "-s", DRIVER], cwd=REPOSITORY, check=True, timeout=300)
    return REPOSITORY / DRIVER


class Outcome:
    """What the driver counted and said."""

    def __init__(self, nodes, url, *options, **variables):
        done = subprocess.run(
            [driver(), str(nodes), *options],
            env={**environment_without_datadog(), "DD_TRACE_AGENT_URL": url, **variables},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        counts = json.loads(done.stdout)
        self.recorded, self.sent, self.dropped = counts["recorded"], counts["sent"], counts["dropped"]
        self.lines = done.stderr.splitlines()
        assert self.recorded == nodes + -(-nodes // PER_WORKFLOW)
        assert all(line.startswith("comfydd: ") for line in self.lines)


def status(number, times=1):
    return {"kind": "status", "status": number, "times": times}


def assert_received_once(agent, count):
    ids = agent.ask("ids")
    assert agent.ask("violations") == []
    assert len(ids) == count
    assert set(ids.values()) == {1}


def test_nothing_is_lost_while_there_is_room():
    with StrictAgent("--keep", "ids", "--start-after", "0.5") as agent:
        agent.plan(
            8, status(503, 4), 8, {"kind": "away", "seconds": 1}, 8, {"kind": "hang"}, 8, status(429, 3),
            8, {"kind": "reset"}, {"kind": "reset_unread"}, 8, {"kind": "slow", "seconds": 0.4}, {"kind": "drip"},
            8, status(408), 8, {"kind": "away", "seconds": 2}, 8, {"kind": "reset_mid_body"}, status(500, 2),
        )
        outcome = Outcome(MANY, agent.url, "--wait", DD_TRACE_AGENT_TIMEOUT_SECONDS="2")
        assert agent.ask("faults") == []  # all of them came to pass
        assert (outcome.sent, outcome.dropped) == (outcome.recorded, 0)
        assert_received_once(agent, outcome.recorded)
        assert any("takes spans again; dropped meanwhile: 0" in line for line in outcome.lines)
        assert len(outcome.lines) <= 4


def test_what_is_lost_without_room_is_counted():
    with StrictAgent("--keep", "ids") as agent:
        agent.plan(2, status(503, 3), 2, {"kind": "away", "seconds": 1}, 2, {"kind": "hang"}, 2, status(429))
        outcome = Outcome(MANY, agent.url, DD_TRACE_AGENT_TIMEOUT_SECONDS="2")
        assert outcome.dropped > 0
        assert outcome.sent == outcome.recorded - outcome.dropped
        assert_received_once(agent, outcome.sent)


def test_refused_spans_are_counted_and_the_others_arrive():
    with StrictAgent("--keep", "ids") as agent:
        agent.plan(1, status(400), 1, status(404), 1, status(415))
        outcome = Outcome(10_000, agent.url, "--wait")
        assert outcome.dropped > 0
        assert outcome.sent == outcome.recorded - outcome.dropped
        assert_received_once(agent, outcome.sent)
        assert [line.split(" with status ")[1][:3] for line in outcome.lines] == ["400", "404", "415"]


FAULTS = {
    "busy": status(503),
    "overloaded": status(429),
    "read-timeout": status(408),
    "too-large": status(413, 3),
    "reset": {"kind": "reset"},
    "reset-unread": {"kind": "reset_unread"},
    "reset-within-the-body-of-the-reply": {"kind": "reset_mid_body"},
    "drip": {"kind": "drip"},
    "hang": {"kind": "hang"},
    "slow": {"kind": "slow", "seconds": 0.3},
    "restart": {"kind": "away", "seconds": 0.5},
}


@pytest.mark.parametrize("place", ["tcp", "uds"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_everything_arrives_once_after(fault, place, tmp_path):
    socket = tmp_path / "apm.socket"
    with StrictAgent("--keep", "ids", "--uds", str(socket)) as agent:
        agent.plan(1, fault, 1, fault)
        url = agent.url if place == "tcp" else f"unix://{socket}"
        outcome = Outcome(4000, url, "--wait", DD_TRACE_AGENT_TIMEOUT_SECONDS="2")
        assert agent.ask("faults") == []
        assert (outcome.sent, outcome.dropped) == (outcome.recorded, 0)
        assert_received_once(agent, outcome.recorded)


def test_a_reply_lost_after_acceptance_repeats_spans_rather_than_losing_them():
    with StrictAgent("--keep", "ids") as agent:
        agent.plan({"kind": "reset_mid_head"})
        outcome = Outcome(1000, agent.url)
        ids = agent.ask("ids")
        assert outcome.sent == outcome.recorded == len(ids)
        assert sum(ids.values()) == outcome.recorded + agent.posts[0]["spans"]


def test_every_span_carries_what_the_agent_needs():
    with StrictAgent() as agent:
        Outcome(1000, agent.url, DD_ENV="prod", DD_VERSION="1.2", DD_TAGS="team:art,site:b", DD_SERVICE="pictures")
        spans = agent.spans
        assert len(spans) == 1005
        assert agent.ask("violations") == []
        for span in spans:
            assert span["service"] == "pictures"
            assert span["meta"]["env"] == "prod" and span["meta"]["version"] == "1.2"
            assert span["meta"]["team"] == "art" and span["meta"]["site"] == "b"
            assert span["meta"]["language"] == "c" and span["meta"]["component"] == "comfyui"
            assert span["metrics"]["process_id"] > 0
        workflows = [span for span in spans if span["name"] == "comfyui.workflow.execute"]
        assert {span["parent_id"] for span in workflows} == {0}
        assert {span["metrics"]["_sampling_priority_v1"] for span in workflows} == {1.0}
        assert {span["parent_id"] for span in spans} == {0} | {span["span_id"] for span in workflows}
        assert {len(span["meta"]["_dd.p.tid"]) for span in workflows} == {16}


def test_an_agent_that_is_not_there_is_said_once_and_not_waited_for():
    with StrictAgent() as agent:
        url = agent.url
    begin = time.monotonic()
    outcome = Outcome(1000, url, "--once")
    assert time.monotonic() - begin < 20  # a flush alone may take a minute
    assert (outcome.sent, outcome.dropped) == (0, 0)
    assert len(outcome.lines) == 1
    assert f"cannot reach the Datadog agent at {url} (Connection refused)" in outcome.lines[0]
