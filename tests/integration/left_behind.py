"""Flight memories of processes that are in the middle of a node, alive or killed."""

from test_kills import Victim, files

from rig import flight
from rig.process import wait_for


def in_a_node(tmp_path, folder, url, **variables):
    """A process that is in the middle of a node."""
    victim = Victim(tmp_path, folder, url, "sleep", "60", **variables).begins()

    def is_in_node():
        memories = [flight.read(path) for path in files(folder)]
        return any(m.pid == victim.process.pid and m.finished and len(m.open) == 2 for m in memories)

    wait_for("the node", 30, is_in_node)
    return victim


def killed(tmp_path, folder, url, **variables):
    """The file of a process that was killed in a node, and the id of its workflow."""
    before = set(files(folder))
    victim = in_a_node(tmp_path, folder, url, **variables)
    victim.kill()
    ((path,), (prompt,)) = set(files(folder)) - before, victim.prompts("begin")
    return path, prompt
