"""The application around an executor: queue, worker thread, HTTP server. The generation's main.py says what is
particular to it."""

import logging
import os
import sys
import threading
import time
from types import ModuleType
from typing import Callable, NamedTuple, Optional

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))

import log_calls
import nodes
import server as http
from comfy_execution.caches import CacheType
from prompt_queue import PromptQueue


def arguments_of(item):
    """What an executor's method is called with for an item of the queue; see Generation.item_length."""
    if len(item) == 4:
        return item[2:]
    number, prompt_id, prompt, extra_data, outputs, *sensitive = item
    if sensitive:
        extra_data = {**extra_data, **sensitive[0]}
    return prompt, prompt_id, extra_data, outputs


def run(executor, item):
    executor.execute(*arguments_of(item))


def prompt_worker(generation, queue, server):
    executor = generation.create_executor(server)
    while True:
        item, item_id = queue.get()
        generation.run(executor, item)
        task_done(generation, executor, queue, item, item_id)


def task_done(generation, executor, queue, item, item_id):
    """Puts the prompt into the history; from R4 on, with how it ended, and tells the client that no node runs."""
    if not hasattr(executor, "status_messages"):
        queue.task_done(item_id, {"outputs": outputs_of(executor)})
        return
    result = getattr(executor, "history_result", None) or {"outputs": outputs_of(executor)}
    status = queue.ExecutionStatus(
        "success" if executor.success else "error", executor.success, executor.status_messages
    )
    queue.task_done(item_id, result, status, generation.process_item)
    if executor.server.client_id is not None:
        message = {"node": None, "prompt_id": item[1]}
        executor.server.send_sync("executing", message, executor.server.client_id)


class Generation(NamedTuple):
    """What differs between generations outside of the executor."""

    execution: ModuleType  # the executor's module
    create_executor: Callable  # (server) -> PromptExecutor
    item_length: int  # of the queue's tuples; 4: no outputs are asked for, 6: with sensitive extra data
    sets_create_time: bool = False  # the server puts extra_data["create_time"]
    process_item: Optional[Callable] = None  # (item) -> what the history keeps of it
    run: Callable = run  # (executor, item): runs a prompt to its end
    prompt_worker: Callable = prompt_worker  # (generation, queue, server): the worker thread


signals = set()  # names that nodes add, and clients ask for
_generation = None  # the one that configure() was called with


class Application:
    def __init__(self, generation):
        self.generation = generation
        self.server = http.PromptServer()
        self.signals = signals
        self.queue = PromptQueue(self.server)
        self.worker = threading.Thread(
            target=generation.prompt_worker, daemon=True, args=(generation, self.queue, self.server)
        )
        self._number = 0

    def enqueue(self, prompt, prompt_id, extra_data):
        if self.generation.sets_create_time:
            extra_data["create_time"] = int(time.time() * 1000)
        self._number += 1
        self.queue.put(_item(self.generation, self._number, prompt, prompt_id, extra_data))


def _item(generation, number, prompt, prompt_id, extra_data):
    outputs = [
        n
        for n, node in prompt.items()
        if getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False)
    ]
    return (number, prompt_id, prompt, extra_data, outputs, {})[: generation.item_length]


def configure(generation):
    global _generation
    _generation = generation
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def new_executor():
    return _generation.create_executor(http.PromptServer())


def run_with(executor, prompt, prompt_id, extra_data):
    """Runs a prompt on this thread."""
    _generation.run(executor, _item(_generation, 0, prompt, prompt_id, extra_data))


def run_here(prompt, prompt_id, extra_data):
    """Runs a prompt on this thread, with an executor of its own. Returns the executor."""
    executor = new_executor()
    run_with(executor, prompt, prompt_id, extra_data)
    return executor


def outputs_of(executor):
    """What the prompt's output nodes showed, by node id: each generation keeps it elsewhere."""
    if hasattr(executor, "history_result"):
        return executor.history_result["outputs"]
    if hasattr(executor, "outputs_ui"):
        return executor.outputs_ui
    return {node_id: output["ui"] for node_id, output in executor.outputs.items() if "ui" in output}


def cache_type():
    """--cache-none switches caching off, --cache-lru N keeps N results, where the executor knows CacheType."""
    if "--cache-none" in sys.argv:
        return CacheType.NONE
    return CacheType.LRU if "--cache-lru" in sys.argv else CacheType.CLASSIC


def cache_size():
    return int(sys.argv[sys.argv.index("--cache-lru") + 1]) if "--cache-lru" in sys.argv else 0


def main(generation):
    """--port N: where to listen, else on a free port. --log-calls: see log_calls.py."""
    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0
    if "--log-calls" in sys.argv:
        log_calls.wrap(generation.execution)
    configure(generation)
    application = Application(generation)
    application.worker.start()
    http.serve(application, port)
