"""The application of generation R2."""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "common"))

import application
import execution

GENERATION = application.Generation(execution, execution.PromptExecutor, item_length=5)

if __name__ == "__main__":
    application.main(GENERATION)
