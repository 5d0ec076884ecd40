"""The application of generation A2. --cache-none and --cache-lru N: application.py."""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "common"))

import application
import execution


def create_executor(server):
    return execution.PromptExecutor(server, application.cache_type(), cache_args={"lru": application.cache_size()})


GENERATION = application.Generation(execution, create_executor, item_length=6, sets_create_time=True)

if __name__ == "__main__":
    application.main(GENERATION)
