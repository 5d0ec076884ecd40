"""The application of generation R2."""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "common"))

import application
import execution


def create_executor(server):
    return execution.PromptExecutor(server)


def run(e, item):
    e.execute(item[2], item[1], item[3], item[4])


def prompt_worker(q, server):
    e = create_executor(server)
    while True:
        item, item_id = q.get()
        run(e, item)
        q.task_done(item_id, {"outputs": e.outputs_ui})


GENERATION = application.Generation(execution, create_executor, run, prompt_worker, item_length=5)

if __name__ == "__main__":
    application.main(GENERATION)
