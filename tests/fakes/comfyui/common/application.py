"""The application around an executor: queue, worker thread, HTTP server. The generation's main.py adds the
rest."""

import logging
import os
import sys
import threading
import time
from types import ModuleType
from typing import Callable, NamedTuple

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))

import log_calls
import nodes
import server as http
from prompt_queue import PromptQueue


class Generation(NamedTuple):
    """What differs between generations outside of the executor."""

    execution: ModuleType  # the executor's module
    create_executor: Callable  # (server) -> PromptExecutor
    run: Callable  # (executor, queue item): runs a prompt to its end
    prompt_worker: Callable  # (queue, server): the worker thread
    item_length: int  # of the tuples in the queue: 4, 5, or 6
    sets_create_time: bool = False  # the server puts extra_data["create_time"]


signals = set()  # names that nodes add, and clients ask for
_generation = None  # the one that configure() was called with


class Application:
    def __init__(self, generation):
        self.generation = generation
        self.server = http.PromptServer()
        self.signals = signals
        self.queue = PromptQueue(self.server)
        self.worker = threading.Thread(
            target=generation.prompt_worker, daemon=True, args=(self.queue, self.server)
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


def run_here(prompt, prompt_id, extra_data):
    """Runs a prompt on this thread, with an executor of its own. Returns the executor."""
    executor = _generation.create_executor(http.PromptServer())
    _generation.run(executor, _item(_generation, 0, prompt, prompt_id, extra_data))
    return executor


def outputs_of(executor):
    """What the prompt's output nodes showed, by node id: each generation keeps it elsewhere."""
    if hasattr(executor, "history_result"):
        return executor.history_result["outputs"]
    if hasattr(executor, "outputs_ui"):
        return executor.outputs_ui
    return {node_id: output["ui"] for node_id, output in executor.outputs.items() if "ui" in output}


def main(generation):
    """--port N: where to listen, else on a free port. --log-calls: see log_calls.py."""
    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0
    if "--log-calls" in sys.argv:
        log_calls.wrap(generation.execution)
    configure(generation)
    application = Application(generation)
    application.worker.start()
    http.serve(application, port)
