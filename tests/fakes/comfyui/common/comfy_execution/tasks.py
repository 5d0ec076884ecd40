"""Calling node functions in the async generations; coroutine functions become tasks."""

import asyncio
import inspect

import nodes

from comfy_execution.results import blocker_among, calls_of


async def call_node(
    create_task, obj, input_data_all, func, allow_interrupt, execution_block_cb, pre_execute_cb
):
    """What each call of obj.func returned, or the task that will: create_task(function, index, arguments)."""
    results = []
    for index, arguments in enumerate(calls_of(input_data_all)):
        if allow_interrupt:
            nodes.before_node_execution()
        blocker = blocker_among(arguments)
        if blocker is not None:
            results.append(execution_block_cb(blocker) if execution_block_cb else blocker)
            continue
        if pre_execute_cb is not None:
            pre_execute_cb(index)
        function = getattr(obj, func)
        if not inspect.iscoroutinefunction(function):
            results.append(function(**arguments))
            continue
        task = create_task(function, index, arguments)
        await asyncio.sleep(0)  # one that does not wait is done after this
        results.append(task.result() if task.done() else task)
    return results


def is_pending(result):
    return isinstance(result, asyncio.Task) and not result.done()


def finished(results):
    return [result.result() if isinstance(result, asyncio.Task) else result for result in results]


def call_when_finished(results, callback):
    """A task of the running loop calls back once none of these results is pending."""

    async def await_completion():
        await asyncio.gather(*filter(is_pending, results), return_exceptions=True)
        callback()

    asyncio.create_task(await_completion())
