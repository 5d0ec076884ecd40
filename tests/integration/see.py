"""For programs under test: what the library has done to them."""

import sys


def how_watched(function):
    """By which mechanism; None when the function is as it was written."""
    if any(type(constant) is type(len) for constant in function.__code__.co_consts):
        return "code swap"
    monitoring = getattr(sys, "monitoring", None)
    tools = [tool for tool in range(6) if monitoring and monitoring.get_tool(tool) == "comfydd"]
    if any(monitoring.get_local_events(tool, function.__code__) for tool in tools):
        return "sys.monitoring"
    return None


def is_watched(module):
    """Whether both functions of an executor are; False when neither is."""
    prompt, node = how_watched(module.PromptExecutor.execute), how_watched(module.execute)
    wanted = "sys.monitoring" if sys.version_info >= (3, 12) else "code swap"
    assert (prompt, node) in ((None, None), ("code swap", wanted)), (prompt, node)
    return node is not None
