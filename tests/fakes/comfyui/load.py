"""Runs prompts without the server, in one of the ways in which programs load ComfyUI's executor.

usage: load.py GENERATION WAY      prints what each prompt showed; WAYS are below
"""

import functools
import importlib
import importlib.util
import os
import runpy
import shutil
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def chain(value):
    return {
        "1": node("Number", value=value),
        "2": node("AddOne", value=["1", 0]),
        "3": node("Show", a=["2", 0]),
    }


def meeting(name, other):
    """Prompts that can only finish together."""
    return {"1": node("Meet", value=1, name=name, awaits=other), "2": node("Show", a=["1", 0])}


# ---- ways to load it; each makes the module available under the name that the generation's main.py imports


def by_import(name, path):
    importlib.import_module(name)


def by_path(name, path):
    """As plugin loaders do: from a file, past all finders."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def by_path_renamed(name, path):
    """Under a name that says nothing, and in sys.modules only after it has run."""
    spec = importlib.util.spec_from_file_location("backend_7", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module


def in_a_package(name, path):
    """A copy inside somebody's package."""
    with tempfile.TemporaryDirectory() as folder:
        package = os.path.join(folder, "bl_execution")
        os.mkdir(package)
        open(os.path.join(package, "__init__.py"), "w").close()
        shutil.copy(path, package)
        sys.path.insert(0, folder)
        sys.modules[name] = importlib.import_module("bl_execution.execution")
        sys.path.remove(folder)


def reloaded(name, path):
    importlib.reload(importlib.import_module(name))


def wrapped(name, path):
    """By custom nodes that want to know how long things take."""
    module = importlib.import_module(name)

    def wrap(owner, attribute):
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def execute(*args, **kwargs):
            return original(*args, **kwargs)

        setattr(owner, attribute, execute)

    for attribute in ("execute", "recursive_execute", "_execute"):
        if hasattr(module, attribute):
            wrap(module, attribute)
    wrap(module.PromptExecutor, "execute")


def before_the_library(name, path):
    """The drop-in way, late: comfyui_shim loads the library when the executor is there already."""
    importlib.import_module(name)
    shim = os.path.join(HERE, os.pardir, os.pardir, os.pardir, "comfyui_shim", "prestartup_script.py")
    runpy.run_path(shim, run_name="comfyui_shim")


WAYS = {
    "import": by_import,
    "by-path": by_path,
    "by-path-renamed": by_path_renamed,
    "in-a-package": in_a_package,
    "reloaded": reloaded,
    "wrapped": wrapped,
    "before-the-library": before_the_library,
}


def main(generation, way):
    home = os.path.join(HERE, generation)
    sys.path[0:1] = [home, os.path.join(HERE, "common")]
    prefix = "comfy.cmd." if generation == "hidden" else ""
    import application

    WAYS[way](prefix + "execution", os.path.join(home, *(prefix + "execution").split(".")) + ".py")
    application.configure(importlib.import_module(prefix + "main").GENERATION)

    shown = {}

    def run(name, prompt, prompt_id):
        executor = application.run_here(prompt, prompt_id, {"job_id": "job-" + name})
        shown[name] = application.outputs_of(executor)

    def run_together(left, right, left_id, right_id):
        threads = [
            threading.Thread(target=run, args=(left, meeting(left, right), left_id)),
            threading.Thread(target=run, args=(right, meeting(right, left), right_id)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run("one", chain(1), "prompt-one")
    run("two", chain(2), "prompt-two")
    run_together("left", "right", "prompt-left", "prompt-right")
    run_together("first-twin", "second-twin", "prompt-twin", "prompt-twin")
    print(sorted(shown.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
