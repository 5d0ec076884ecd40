"""What must come of kills at random moments: an account of what the killed had recorded, held against what an agent received."""

import pathlib

from rig import flight


def left(folder):
    """The flight memories in the folder."""
    return [flight.read(path) for path in sorted(pathlib.Path(folder).iterdir())]


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


class Account:
    """note() after every kill; check() when all has been delivered."""

    def __init__(self, folder):
        self.folder = folder
        self.wanted = []  # at each kill, the spans that no agent had acknowledged, by identifier
        self.open = set()

    def note(self):
        memories = left(self.folder)
        self.wanted.append(set().union(*(memory.finished | memory.open for memory in memories)))
        self.open |= set().union(*(memory.open for memory in memories))

    def check(self, agent):
        """The spans that have arrived, by identifier. Says how many came twice."""
        assert agent.ask("violations") == []
        assert list(pathlib.Path(self.folder).iterdir()) == []
        spans = {identifier(span): span for span in agent.spans}
        times = agent.ask("ids")
        # Every span that was finished or open at a kill has arrived.
        assert set().union(*self.wanted) <= set(times)
        # Once, but for what was on its way at a kill: nobody can know whether the agent has it.
        twice = {span for span, count in times.items() if count > 1}
        for span in twice:
            assert times[span] <= 1 + sum(span in wanted for wanted in self.wanted)
        kills = sum(1 for wanted in self.wanted if wanted & twice)
        print(f"{len(self.wanted)} kills, {len(times)} spans; {len(twice)} came twice, of {kills} kills")
        assert len(twice) <= len(times) / 10
        assert self.open
        return spans
