"""hiddenswitch's application, started with `python -m comfy.cmd.main`. --cache-none switches caching off."""

import asyncio
import os
import sys

_STANDINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, os.pardir)
sys.path.insert(1, os.path.join(_STANDINS, "common"))

import application
from comfy.cmd import execution


def create_executor(server):
    cache_type = execution.CacheType.NONE if "--cache-none" in sys.argv else execution.CacheType.CLASSIC
    return execution.PromptExecutor(server, cache_type, cache_args={"lru": 0})


def run(e, item):
    asyncio.run(run_async(e, item))


async def run_async(e, item):
    extra_data = item[3].copy()
    extra_data.update(item[5])
    await e.execute_async(item[2], item[1], extra_data, item[4])


def prompt_worker(q, server_instance):
    asyncio.run(_prompt_worker(q, server_instance))


async def _prompt_worker(q, server_instance):
    e = create_executor(server_instance)
    while True:
        item, item_id = q.get(timeout=1000.0)
        await run_async(e, item)
        status = execution.PromptQueue.ExecutionStatus(
            "success" if e.success else "error", e.success, e.status_messages
        )
        q.task_done(item_id, e.history_result, status)
        if server_instance.client_id is not None:
            message = {"node": None, "prompt_id": item[1]}
            server_instance.send_sync("executing", message, server_instance.client_id)


GENERATION = application.Generation(
    execution, create_executor, run, prompt_worker, item_length=6, sets_create_time=True
)

if __name__ == "__main__":
    application.main(GENERATION)
