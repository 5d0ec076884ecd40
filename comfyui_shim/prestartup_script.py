"""Starts comfydd from Python. ComfyUI runs this file before it imports the executor; importing the package
does too.

Loads libcomfydd.so where it is not preloaded, then, where ddtrace is installed, starts ddtrace and hands the
library what it needs from it (include/comfydd/shim.h is the contract). Never raises: each failure is one line
on stderr.

Environment: COMFYDD_LIB (path of the library) and DD_RUNTIME_METRICS_ENABLED (default true, false where
OTEL_METRICS_EXPORTER is none) are read;
DD_PROFILING_ENABLED is set to true when unset, DD_SERVICE and DD_ENV to what the library's spans have.
"""

import ctypes
import importlib.util
import os
import sys
import types

SHIM_ABI = 2  # COMFYDD_SHIM_ABI
HERE = os.path.dirname(os.path.realpath(__file__))  # real: often the folder is a link in custom_nodes/


def say(text):
    if sys.stderr:
        print("comfydd: " + text, file=sys.stderr, flush=True)


def load_library():
    """The library: the preloaded one, else COMFYDD_LIB, else the first one found. None when none of them can
    be used, and said why."""
    library = ctypes.PyDLL(None)  # everything that was preloaded is in the global scope
    if not hasattr(library, "comfydd_shim_abi"):
        path = os.environ.get("COMFYDD_LIB") or find_library()
        try:
            library = ctypes.PyDLL(path)
        except OSError as error:
            say(
                f"the library cannot be loaded ({error}), nothing is traced; "
                "build it (make), or set COMFYDD_LIB to the path of libcomfydd.so"
            )
            return None
    if not hasattr(library, "comfydd_shim_abi") or library.comfydd_shim_abi() != SHIM_ABI:
        say("libcomfydd.so and comfyui_shim are of different versions, nothing is traced; install both again")
        return None
    return library


def find_library():
    above = os.path.dirname(HERE)
    for folder in (HERE, os.path.join(above, "build"), os.path.join(above, "lib"), "/usr/local/lib"):
        path = os.path.join(folder, "libcomfydd.so")
        if os.path.exists(path):
            return path
    return "libcomfydd.so"  # wherever the loader finds it


def start_ddtrace(library):
    """Starts ddtrace as ddtrace-run does, with profiler and runtime metrics, and connects the two."""
    library.comfydd_service.restype = library.comfydd_env.restype = ctypes.c_char_p
    os.environ["DD_SERVICE"] = os.fsdecode(library.comfydd_service())  # or one trace would have two of them
    os.environ["DD_ENV"] = os.fsdecode(library.comfydd_env())
    os.environ.setdefault("DD_PROFILING_ENABLED", "true")
    import ddtrace.auto  # noqa: F401  reads them
    from ddtrace.internal.runtime import get_runtime_id  # no public name; the same in 2.x - 4.16
    from ddtrace.runtime import RuntimeMetrics

    def hand_over_runtime_id():
        library.comfydd_set_runtime_id(get_runtime_id().encode())

    hand_over_runtime_id()
    os.register_at_fork(after_in_child=hand_over_runtime_id)  # after ddtrace's own hook, which makes a new id

    default = "false" if os.environ.get("OTEL_METRICS_EXPORTER", "").lower() == "none" else "true"
    if os.environ.get("DD_RUNTIME_METRICS_ENABLED", default).lower() in ("true", "1"):
        RuntimeMetrics.enable()

    bridge = load_bridge()
    if bridge.READY:
        library.comfydd_set_bridge.argtypes = [ctypes.py_object] * 3
        library.comfydd_set_bridge(bridge.enter, bridge.leave, bridge.current)
    else:
        say(
            f"ddtrace {ddtrace.__version__} is too old for its spans to join the nodes' traces; "
            "install ddtrace 3.10 or newer"
        )


def load_bridge():
    """bridge.py, by its path: ComfyUI runs this file outside of any package."""
    spec = importlib.util.spec_from_file_location("comfydd_bridge", os.path.join(HERE, "bridge.py"))
    bridge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bridge)
    return bridge


def start():
    library = load_library()
    if library is None or not library.comfydd_start():
        return
    try:
        if importlib.util.find_spec("ddtrace") is not None:
            start_ddtrace(library)
    except Exception as error:
        say(f"ddtrace cannot be used ({type(error).__name__}: {error}); nodes are traced without it")


# Run by ComfyUI under one name, imported by the package under another: once for the process.
if "comfydd_shim" not in sys.modules:
    sys.modules["comfydd_shim"] = types.ModuleType("comfydd_shim", __doc__)
    start()
