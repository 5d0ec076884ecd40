"""comfyui_shim: how it finds and starts the library, and how library spans and nodes join. Against
bridge_probe.c, which stands for libcomfydd.so; test_shim_end_to_end.py has the real one.

COMFYDD_FULL_MATRIX=1 runs every supported ddtrace series on every suitable Python."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import bridge_scenarios  # noqa: F401  for the names of its scenarios, as the next
import ddtrace_scenarios  # noqa: F401
import pytest
import scenarios
from programs import HERE, REPOSITORY, build_probe, run
from rig import pythons
from rig.pythons import python_of

SHIM = REPOSITORY / "comfyui_shim"
PRESTARTUP = SHIM / "prestartup_script.py"

pytestmark = pytest.mark.timeout(900)  # making virtual environments included

if os.environ.get("COMFYDD_FULL_MATRIX"):
    MATRIX = [("3.10.0", "3.11"), ("4.0.4", "3.11")]
    MATRIX += [("3.19.9", version) for version in ("3.9", "3.11", "3.12")]
    MATRIX += [("4.16.0", version) for version in ("3.9", "3.10", "3.11", "3.12", "3.13")]
else:
    MATRIX = [("3.19.9", "3.11"), ("4.16.0", "3.11"), ("4.16.0", "3.13")]
IDS = ["ddtrace-%s-python-%s" % row for row in MATRIX]
matrix = pytest.mark.parametrize("version, python", MATRIX, ids=IDS)

# ddtrace's own traffic, which nobody receives here.
SILENT = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
OFF = {"DD_PROFILING_ENABLED": "false", "DD_RUNTIME_METRICS_ENABLED": "false"}


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return build_probe("bridge_probe", tmp_path_factory.mktemp("probe"))


# ---- the C side of the bridge


@functools.cache
def bridge_results(python, probe):
    return json.loads(run([python, HERE / "bridge_scenarios.py", probe])[0])


@pytest.mark.parametrize("version", pythons.find())
@pytest.mark.parametrize("scenario", scenarios.names("bridge_scenarios"))
def test_bridge(version, scenario, probe):
    problem = bridge_results(pythons.find()[version], probe)[scenario]
    assert problem is None, problem


# ---- ddtrace and nodes


@functools.cache
def ddtrace_results(version, python, probe):
    command = [python_of(python, f"ddtrace=={version}", "requests", "httpx", "aiohttp")]
    command += [HERE / "ddtrace_scenarios.py", probe, PRESTARTUP]
    return json.loads(run(command, COMFYDD_LIB=probe, DD_LOGS_INJECTION="true", **SILENT, **OFF)[0])


@matrix
@pytest.mark.parametrize("scenario", scenarios.names("ddtrace_scenarios"))
def test_ddtrace(version, python, scenario, probe):
    problem = ddtrace_results(version, python, probe)[scenario]
    assert problem is None, problem


# ---- finding and starting the library

# As ComfyUI does: by its path, outside of any package.
START = f"import runpy; runpy.run_path({os.fspath(PRESTARTUP)!r})"


def start(script=START, python=sys.executable, **variables):
    """What a program writes that starts the shim; stderr comes second."""
    return run([python, "-c", script], **variables)


def test_without_ddtrace_nothing_is_said(probe):
    assert start(COMFYDD_LIB=probe) == ("", "")


def test_a_ddtrace_without_spec_is_one_line(probe):
    """As a program makes one that stands in for it."""
    script = "import sys, types; sys.modules['ddtrace'] = types.ModuleType('ddtrace')\n" + START
    out, err = start(script, COMFYDD_LIB=probe)
    assert out == "" and err.startswith("comfydd: ddtrace cannot be used") and err.count("\n") == 1


def test_an_inert_library_leaves_ddtrace_alone(probe, old_ddtrace):
    assert start(COMFYDD_LIB=probe, PROBE_INERT="1", PYTHONPATH=old_ddtrace) == ("", "")
    assert start(COMFYDD_LIB=probe, PROBE_WITHOUT_START="1", PYTHONPATH=old_ddtrace) == ("", "")


def test_a_missing_library_is_one_line_that_says_what_to_do(tmp_path):
    out, err = start(COMFYDD_LIB=tmp_path / "no.so")
    assert out == "" and err.startswith("comfydd: ") and err.count("\n") == 1
    assert "no.so" in err and "make" in err and "COMFYDD_LIB" in err


def test_a_library_of_another_version_is_refused(tmp_path):
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int comfydd_shim_abi(void) { return 99; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    for path in (library, "libc.so.6"):
        out, err = start(COMFYDD_LIB=path)
        assert out == "" and err.startswith("comfydd: ") and err.count("\n") == 1 and "version" in err


SHOW_LIBRARY = """
mapped = {line.split()[-1] for line in open("/proc/self/maps")}
print(*(path for path in mapped if path.endswith(("comfydd.so", "bridge_probe.so"))))
"""


def loaded_library(script, **variables):
    """The path of the library that a program loaded which starts the shim."""
    out, err = start(script + SHOW_LIBRARY, **variables)
    assert err == "", err
    return pathlib.Path(out.strip())


def test_the_library_is_found_beside_the_folder_that_custom_nodes_links_to(tmp_path, probe):
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "comfydd" / "build").mkdir(parents=True)
    shim = tmp_path / "comfydd" / "comfyui_shim"
    shim.mkdir()
    for file in SHIM.glob("*.py"):
        (shim / file.name).write_bytes(file.read_bytes())
    (tmp_path / "custom_nodes" / "any name").symlink_to(shim)
    script = START.replace(os.fspath(SHIM), os.fspath(tmp_path / "custom_nodes" / "any name"))

    (tmp_path / "comfydd" / "lib").mkdir()
    for folder in ("lib", "build"):  # of a release; of a checkout
        found = tmp_path / "comfydd" / folder / "libcomfydd.so"
        found.write_bytes(probe.read_bytes())
        assert loaded_library(script).samefile(found)

    beside = shim / "libcomfydd.so"
    beside.write_bytes(probe.read_bytes())
    assert loaded_library(script).samefile(beside)

    assert loaded_library(script, COMFYDD_LIB=probe) == probe
    assert loaded_library(script, COMFYDD_LIB="/nowhere.so", LD_PRELOAD=probe) == probe


COUNT_STARTS = """
import ctypes, sys
found = []
class Counting(ctypes.PyDLL):
    def __getattr__(self, name):
        if name == "comfydd_start":
            found.append(name)
        return super().__getattr__(name)
ctypes.PyDLL = Counting
"""

IMPORT_AS_A_NODE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("a node", {os.fspath(SHIM / "__init__.py")!r})
sys.modules["a node"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert module.NODE_CLASS_MAPPINGS == {{}} and module.NODE_DISPLAY_NAME_MAPPINGS == {{}}
"""


def test_it_starts_once_under_all_its_names(probe):
    script = COUNT_STARTS + START + IMPORT_AS_A_NODE + "import comfyui_shim; print(len(found))"
    assert start(script, COMFYDD_LIB=probe, PYTHONPATH=REPOSITORY) == ("1\n", "")
    script = COUNT_STARTS + IMPORT_AS_A_NODE + "print(len(found))"  # a ComfyUI without prestartup scripts
    assert start(script, COMFYDD_LIB=probe) == ("1\n", "")


# ---- starting ddtrace


AUTO = "import os; print(*(os.environ['DD_' + n] for n in ('SERVICE', 'ENV', 'PROFILING_ENABLED')))"


@pytest.fixture
def old_ddtrace(tmp_path):
    """A folder with a package that looks like ddtrace 2.21 to the shim, and says what is done with it."""
    package = tmp_path / "packages" / "ddtrace"
    (package / "internal").mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '2.21.12'\n")
    (package / "auto.py").write_text(AUTO)
    (package / "trace.py").write_text("class Context: pass\ntracer = None\n")
    (package / "internal" / "__init__.py").write_text("")
    (package / "internal" / "runtime.py").write_text("def get_runtime_id(): return '0123456789abcdef' * 2\n")
    (package / "runtime.py").write_text(
        "class RuntimeMetrics:\n    @staticmethod\n    def enable(): print('runtime metrics')\n"
    )
    return package.parent


def test_a_ddtrace_too_old_starts_but_is_not_bridged(probe, old_ddtrace):
    out, err = start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace)
    assert out == "comfyui production true\nruntime metrics\n"
    assert err.startswith("comfydd: ddtrace 2.21.12 is too old") and "3.10" in err and err.count("\n") == 1


def test_ddtrace_has_the_service_of_our_spans_wherever_it_was_set(probe, old_ddtrace):
    variables = {"DD_SERVICE": "", "OTEL_SERVICE_NAME": "mine", "DD_TAGS": "env:staging"}
    out, _ = start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace, **variables)
    assert out == "mine staging true\nruntime metrics\n"


def test_a_service_that_is_no_text_stays_as_it_is(probe, old_ddtrace):
    (old_ddtrace / "ddtrace" / "auto.py").write_text("import os; print(os.environb[b'DD_SERVICE'])\n")
    assert "b'caf\\xe9'\n" in start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace, DD_SERVICE=b"caf\xe9")[0]


def test_what_the_user_set_stays(probe, old_ddtrace):
    variables = {"DD_PROFILING_ENABLED": "false", "DD_SERVICE": "mine", "DD_ENV": "staging"}
    for switch in ("false", "0", "False"):
        variables["DD_RUNTIME_METRICS_ENABLED"] = switch
        out, _ = start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace, **variables)
        assert out == "mine staging false\n"
    del variables["DD_RUNTIME_METRICS_ENABLED"]
    out, _ = start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace, OTEL_METRICS_EXPORTER="none", **variables)
    assert out == "mine staging false\n"


def test_a_broken_ddtrace_is_one_line(probe, old_ddtrace):
    (old_ddtrace / "ddtrace" / "auto.py").write_text("raise RuntimeError('no wheel')\n")
    out, err = start(COMFYDD_LIB=probe, PYTHONPATH=old_ddtrace)
    assert out == "" and err.startswith("comfydd: ddtrace") and err.count("\n") == 1
    assert "RuntimeError: no wheel" in err


REPORT = """
import os
from ddtrace.internal.runtime.runtime_metrics import RuntimeWorker
from ddtrace.profiling import bootstrap
print(RuntimeWorker.enabled, hasattr(bootstrap, "profiler"), flush=True)
os._exit(0)  # without ddtrace's farewell to an agent that is not there
"""


@matrix
def test_profiler_and_runtime_metrics_run_by_default(version, python, probe):
    venv = python_of(python, f"ddtrace=={version}", "requests", "httpx", "aiohttp")
    assert start(START + REPORT, python=venv, COMFYDD_LIB=probe, **SILENT)[0] == "True True\n"
    assert start(START + REPORT, python=venv, COMFYDD_LIB=probe, **SILENT, **OFF)[0] == "False False\n"
