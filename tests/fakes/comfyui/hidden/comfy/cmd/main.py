"""hiddenswitch's application, started with `python -m comfy.cmd.main`. --cache-none and --cache-lru N: application.py."""

import asyncio
import os
import sys

_STANDINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, os.pardir)
sys.path.insert(1, os.path.join(_STANDINS, "common"))

import application
from comfy.cmd import execution


def create_executor(server):
    return execution.PromptExecutor(server, application.cache_type(), cache_args={"lru": application.cache_size()})


def run(executor, item):
    asyncio.run(run_async(executor, item))


async def run_async(executor, item):
    await executor.execute_async(*application.arguments_of(item))


def prompt_worker(generation, queue, server):
    asyncio.run(_prompt_worker(generation, queue, server))


async def _prompt_worker(generation, queue, server):
    executor = generation.create_executor(server)
    while True:
        item, item_id = queue.get()
        await run_async(executor, item)
        application.task_done(generation, executor, queue, item, item_id)


GENERATION = application.Generation(
    execution,
    create_executor,
    item_length=6,
    sets_create_time=True,
    run=run,
    prompt_worker=prompt_worker,
)

if __name__ == "__main__":
    application.main(GENERATION)
