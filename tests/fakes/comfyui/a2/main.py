"""The application of generation A2. --cache-none switches caching off."""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "common"))

import application
import execution


def create_executor(server):
    cache_type = execution.CacheType.NONE if "--cache-none" in sys.argv else execution.CacheType.CLASSIC
    return execution.PromptExecutor(server, cache_type, cache_args={"lru": 0})


def run(e, item):
    extra_data = item[3].copy()
    extra_data.update(item[5])
    e.execute(item[2], item[1], extra_data, item[4])


def prompt_worker(q, server_instance):
    e = create_executor(server_instance)
    while True:
        item, item_id = q.get(timeout=1000.0)
        run(e, item)
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
