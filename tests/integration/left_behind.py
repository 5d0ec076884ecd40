"""Flight memories of processes that are in the middle of a node, alive or killed."""

from test_kills import Victim, files


def in_a_node(tmp_path, folder, url, **variables):
    """A process that is in the middle of a node."""
    return Victim(tmp_path, folder, url, "sleep", "60", **variables).is_in_node()


def killed(tmp_path, folder, url, **variables):
    """The file of a process that was killed in a node, and the id of its workflow."""
    before = set(files(folder))
    victim = in_a_node(tmp_path, folder, url, **variables)
    victim.kill()
    ((path,), (prompt,)) = set(files(folder)) - before, victim.prompts("begin")
    return path, prompt
