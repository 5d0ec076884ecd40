"""What must come of kills at random moments: an account of what the killed had recorded, held against what an agent received."""

import contextlib
import pathlib

from rig import flight
from rig.process import wait_for


def left(folder):
    """The flight memories in the folder; one that is removed meanwhile is none."""
    memories = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        with contextlib.suppress(FileNotFoundError):
            memories.append(flight.read(path))
    return memories


def identifier(span):
    return f"{span['trace_id']}:{span['span_id']}"


def split(spans):
    """The workflow's span, and its nodes' by id."""
    (workflow,) = [span for span in spans if span["name"] == "comfyui.workflow.execute"]
    return workflow, {span["meta"]["node.id"]: span for span in spans if span is not workflow}


def assert_killed(span, error="ProcessKilled"):
    assert span["error"] == 1
    assert span["meta"]["error.type"] == error
    assert span["meta"]["error.message"]
    if span["name"] == "comfyui.workflow.execute":
        assert span["meta"]["workflow.status"] == "killed"
    else:
        assert span["meta"]["node.result"] == "KILLED"


def came_again(payloads):
    """The spans that came once more later: a set for each payload (strict_agent.py) that had such, which must be the last one
    of its connection."""
    last = {connection: number for number, (connection, _) in enumerate(payloads)}
    found, later = [], set()
    for number, (connection, spans) in reversed([*enumerate(payloads)]):
        assert len(set(spans)) == len(spans)
        if later.intersection(spans):
            assert last[connection] == number
            found.append(later.intersection(spans))
        later.update(spans)
    return found


class Account:
    """make_room() before and note() after every kill; check() when all has been delivered."""

    def __init__(self, folder):
        self.folder = folder
        self.wanted = []  # at each kill, the spans that no agent had acknowledged, by identifier
        self.open = {}  # those of them that were open, with the error.type that they must arrive with

    def make_room(self):
        """Before a kill: of dead processes' files the oldest go when 16 are there. Whoever lives now sends them."""
        wait_for("earlier memories to be sent", 60, lambda: len(left(self.folder)) < 16)

    def note(self):
        memories = left(self.folder)
        self.wanted.append(set().union(*(memory.finished | memory.open for memory in memories)))
        for memory in memories:
            error = "ProcessRestarted" if memory.replaced else "ProcessKilled"
            self.open.update(dict.fromkeys(memory.open, error))

    def check(self, agent):
        """The spans that have arrived, by identifier. Says how many came twice."""
        assert agent.ask("violations") == []
        assert not [memory for memory in left(self.folder) if memory.pid]  # a kill may come before one is finished
        spans = {identifier(span): span for span in agent.spans}
        times = agent.ask("ids")
        # Every span that was finished or open at a kill has arrived.
        assert set().union(*self.wanted) <= set(times)
        # Once, but for the last payload of each of the killed: nobody can know whether the agent has taken it.
        twice = came_again(agent.ask("payloads"))
        assert {span for span, count in times.items() if count > 1} == set().union(*twice)
        print(f"{len(self.wanted)} kills, {len(times)} spans; {len(set().union(*twice))} of {len(twice)} payloads came twice")
        assert self.open
        return spans
