"""Prints every call of the executor's functions and how the nodes' calls ended, by wrapping them as custom
nodes do."""

import functools
import inspect


def wrap(execution):
    """From now on the module prints `prompt` where one begins, and `call ID RESULT` after each call for a
    node."""
    _wrap_prompt_method(execution.PromptExecutor)
    name = next(n for n in ("_execute", "recursive_execute", "execute") if hasattr(execution, n))
    original = getattr(execution, name)
    position = list(inspect.signature(original).parameters).index("current_item")

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapper(*args):
            try:
                result = await original(*args)
            except BaseException as raised:
                _say(args[position], raised)
                raise
            _say(args[position], result)
            return result

    else:

        @functools.wraps(original)
        def wrapper(*args):
            try:
                result = original(*args)
            except BaseException as raised:
                _say(args[position], raised)
                raise
            _say(args[position], result)
            return result

    setattr(execution, name, wrapper)


def _wrap_prompt_method(executor):
    name = "execute_async" if hasattr(executor, "execute_async") else "execute"
    original = getattr(executor, name)

    @functools.wraps(original)
    def wrapper(*args):
        print("prompt", flush=True)
        return original(*args)

    setattr(executor, name, wrapper)


def _say(node_id, result):
    """The outcome is a letter: Failure, Pending, Success."""
    outcome = result[0] if isinstance(result, tuple) else not isinstance(result, BaseException)
    letter = {True: "S", False: "F"}.get(outcome) or outcome.name[0]
    print("call %s%s" % (node_id, letter), flush=True)
