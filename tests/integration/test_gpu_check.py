"""scripts/gpu-check, on the fake GPU: it comes to its end, claims no hardware, and notices what is not as it expects."""

import copy
import pathlib
import re
import subprocess
import sys

import pytest
from programs import HERE, REPOSITORY, environment

from rig.fake_cuda import LIBRARIES, build

pytestmark = pytest.mark.timeout(300)

GPU_CHECK = REPOSITORY / "tests" / "gpu_check"


@pytest.fixture
def gpu_check():
    """gpu_check(argument..., variable=value...): (exit status, its lines)."""

    def start(*arguments, **variables):
        done = subprocess.run(
            [REPOSITORY / "scripts/gpu-check", *arguments], env=environment(PYTHON=sys.executable, **variables),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
        return done.returncode, (done.stdout or done.stderr).splitlines()

    return start


def lines_of(outcome, lines):
    return [line for line in lines if line.startswith(f"{outcome}: ")]


@pytest.fixture
def cutting_runtime(tmp_path):
    """A folder with it."""
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", tmp_path / "libcudart.so.13", HERE / "cuda/cutting_runtime.c"]
        + ["-Wl,-soname,libcudart.so.13,--allow-multiple-definition", f"-Wl,-rpath,{LIBRARIES}", "-L", build()]
        + ["-Wl,--whole-archive", "-l:libcudart_static.a", "-Wl,--no-whole-archive", "-lfakegpu", "-ldl"],
        check=True, timeout=60)
    return tmp_path


def test_every_question_is_answered_on_the_fake(gpu_check):
    code, lines = gpu_check("--fake", TORCH_PYTHON="/none")
    assert code == 0 and not lines_of("FAILED", lines), lines
    assert "FAKE" in lines[0]
    passed, skipped = lines_of("passed", lines), lines_of("skipped", lines)
    assert lines[-1] == f"gpu-check on the fake GPU, not on hardware: {len(passed)} passed, 0 failed, {len(skipped)} skipped"
    assert len(passed) + len(skipped) == len(lines) - 2
    assert [re.search("times of a fake|/none", line)[0] for line in skipped] == 3 * ["times of a fake"] + ["/none"]
    asked = "\n".join(passed)
    for question in (
        "the driver exports its functions without versions: expected none",
        "cuGetProcAddress answers the exported address: expected 207 times (function, version, stream flags); found 207",
        "cuGetProcAddress_v2 answers the exported address: expected 207 times (function, version, stream flags); found 207",
        "shared runtime, cudaMalloc, 1 KiB: one driver call each: expected 100 of the driver, 100 seen in the runtime",
        "static runtime, cudaMalloc, 1 KiB: one driver call each: expected 100 of the driver, 0 seen in the runtime",
        "cudaMallocAsync, odd sizes, 20 allocations: the ledger: expected pool used",
        "cuMemCreate and cuMemMap, 8 allocations: the ledger: expected the 16777216 that free has lost",
        "what a pool charges for some sizes: expected the next multiple of 512 bytes; found 512 for 1,",
        "memory of a stream of device 0: its type and device: expected [2, 0]; found [2, 0]",
        "memory of a pool of the host: its type and device: expected [1, None]; found [1, None]",
        "how stream captures end: expected 72 results the same with the library; found 72 the same",
        "uuid and name of the devices: expected those of NVML",
    ):
        assert question in asked, question


def test_a_runtime_that_cuts_its_allocations_is_found_out(gpu_check, cutting_runtime):
    code, lines = gpu_check("--fake", "layers", CUDA_LIB=cutting_runtime)
    assert code == 1
    small, ledger = lines_of("FAILED", lines)
    assert small.startswith("FAILED: shared runtime, cudaMalloc, 1 KiB: one driver call each: expected 100 of the driver")
    assert "found cuMemAlloc_v2 × 1," in small
    assert ledger.startswith("FAILED: shared runtime: the ledger: expected all while it lives")


def test_a_program_that_breaks_is_a_failure(gpu_check):
    code, lines = gpu_check("--fake", "ledger", "rounding", FAKE_CUDA_FAIL="cuMemCreate:2")
    assert code == 1
    assert lines[1].startswith("FAILED: ledger: expected that its programs come to their end; found ledger.py ended with 1: ")
    assert lines[1].endswith("cuda.Error: cuMemCreate: error 2")
    assert lines[2].startswith("passed: what a pool charges")


@pytest.mark.parametrize("says", ["", "activated"])
def test_an_interpreter_that_says_something_else_is_told_of(gpu_check, tmp_path, says):
    """A TORCH_PYTHON that is a script, and does not run what it is given: the other checks go on."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {says}\n" if says else "#!/bin/sh\n")
    python.chmod(0o755)
    code, lines = gpu_check("--fake", "devices", "torch", TORCH_PYTHON=python)
    assert code == 0 and lines[1].startswith("passed: ")
    assert "torch_found.py has answered nothing" in lines[2] and says in lines[2] and len(lines) == 4


@pytest.mark.parametrize("variables", [
    {"FAKE_CUDA_DEVICES": "4"}, {"FAKE_CUDA_DEVICES": "4", "CUDA_VISIBLE_DEVICES": "2"}, {"FAKE_CUDA_MIG": "1"},
    {"FAKE_CUDA_DEVICES": "2", "FAKE_CUDA_MIG": "1"},
], ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()))  # fmt: skip
def test_several_gpus_and_parts_of_them(gpu_check, variables):
    code, lines = gpu_check("--fake", "devices", "ledger", "rounding", "places", **variables)
    devices = 1 if "CUDA_VISIBLE_DEVICES" in variables else int(variables.get("FAKE_CUDA_DEVICES", 1))
    assert code == 0 and lines[-1].endswith(f": {7 + devices} passed, 0 failed, 0 skipped"), lines


def test_without_a_gpu_it_says_so(gpu_check):
    code, lines = gpu_check("devices", FAKE_CUDA_DEVICES="0", LD_LIBRARY_PATH=build())
    assert code == 1
    assert lines == [line for line in lines if line.startswith("gpu-check: no NVIDIA GPU can be used here")]


def test_what_the_fake_says_is_not_kept(gpu_check):
    before = (REPOSITORY / "docs/gpu-check.md").read_text()
    code, lines = gpu_check("--fake", "--write", "devices")
    assert code == 2 and "hardware" in lines[-1]
    assert (REPOSITORY / "docs/gpu-check.md").read_text() == before


def test_results_are_written_between_the_marks(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(GPU_CHECK)
    import report

    document = tmp_path / "document.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(document, "a GPU", [report.judge("a | b", "1", True, "1"), report.judge("c", "3", False, "2")])
    text = document.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n") and text.endswith(f"{report.END}\nafter\n")
    assert "a GPU. 1 passed, 1 failed, 0 skipped." in text and "old" not in text
    assert "| passed | a \\| b | 1 | 1 |" in text and "| FAILED | c | 3 | 2 |" in text


# ---- every question can be answered with no ----

TORCH = {
    "walk": {"preloaded": True, "allocated": 5, "freed": 4},
    "torch_out_of_memory": {"text": "CUDA out of memory.", "ooms": 1, "small": 512, "ours": 1},
    "torch_profiler": {"kernels": 7},
}


@pytest.fixture(scope="session")
def told():
    """What the programs of the checks have said on the fake GPU, by (program, preloaded library, kind of runtime)."""
    build()
    subprocess.run(["make", "-s", "gpu-check-probes"], cwd=REPOSITORY, check=True, timeout=280)
    return {}


@pytest.fixture
def answers(told, monkeypatch):
    """answers(check, fake=True, {program: change}): results of a check when `change` has been made to what a program says with
    the library."""
    monkeypatch.syspath_prepend(GPU_CHECK)
    import check_cost, check_driver, check_memory, check_torch, machine  # noqa: E401

    on_fake = machine.Machine(True)

    class Changed:
        runtime = on_fake.runtime

        def __init__(self, changes, fake):
            self.changes, self.fake = changes, fake

        def run(self, program, *arguments, preload=None, python=None, **more):
            name = getattr(program, "stem", program)
            key = (name, preload, *(argument.name for argument in arguments if isinstance(argument, pathlib.Path)))
            if name in TORCH:
                said = {**TORCH[name], **({} if preload else {"ours": None})}
            else:
                if key not in told:
                    told[key] = on_fake.run(program, *arguments, preload=preload, **more)
                said = copy.deepcopy(told[key])
            return self.changes.get(name, lambda said: said)(said) if preload else said

        def driver_symbols(self):
            return on_fake.driver_symbols()

        def torch_python(self):
            return sys.executable

    checks = {check.__name__: check for check in (
        check_driver.devices, check_driver.addresses, check_driver.rounding, check_driver.places, check_memory.layers,
        check_memory.ledger, check_memory.state, check_cost.cost, check_torch.torch)}  # fmt: skip

    def answer(check, changes, fake=True):
        return list(checks[check](Changed(changes, fake)))

    return answer


def changed(path, value):
    """A change: the place that is reached by these keys becomes `value`, or what it makes of what was there."""

    def change(said):
        place = said
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return said

    return change


NO = {  # check, changed program, what it says: the question that fails
    "another uuid": ("devices", "devices", changed(["ours", 0, 0], "GPU-other"), "uuid and name of the devices"),
    "no device": ("devices", "devices", changed(["ours"], []), "uuid and name of the devices"),
    "a function that is not hooked": ("addresses", "addresses", changed(["unhooked"], ["cuMemAlloc 12000 0"]), "it answers a hook"),
    "a runtime past the hooks": ("layers", "layers", changed(["asked"], 0), "where hooks see it"),
    "two driver calls": ("layers", "layers", changed(["ways", 3, "allocated", "cuMemAllocAsync"], 6), "cudaMallocAsync, 64 MiB"),
    "a free that is not seen": ("layers", "layers", changed(["ways", 3, "freed"], {}), "cudaMallocAsync, 64 MiB"),
    "a runtime call that is not seen": ("layers", "layers", changed(["ways", 3, "runtime"], 99), "cudaMallocAsync, 64 MiB"),
    "a block that is cut": ("layers", "layers", changed(["ways", 1, "own"], 2), "cudaMalloc, 64 MiB"),
    "what stays": ("layers", "layers", changed(["ways", 2, "left"], 1), "runtime: the ledger"),
    "too little in the ledger": ("ledger", "ledger", changed([0, "ledger"], lambda size: size - (3 << 20)), "cudaMalloc, 256 MiB"),
    "too much in the ledger": ("ledger", "ledger", changed([1, "ledger"], lambda size: size + (8 << 20)), "cudaMalloc, odd sizes"),
    "too much in the pool": ("ledger", "ledger", changed([2, "ledger"], lambda size: size - 20 * 512), "cudaMallocAsync, odd sizes"),
    "a reserved that is not taken": ("ledger", "ledger", changed([2, "reserved"], 0), "cudaMallocAsync, odd sizes"),
    "weights that stay": ("ledger", "ledger", changed([3, "left"], 512), "cuMemCreate and cuMemMap"),
    "another error": ("state", "state", changed([0, 1], "another"), "errors"),
    "another capture": ("state", "state", changed([-1, 1], "another"), "how stream captures end"),
    "a result that is missing": ("state", "state", lambda said: said[:-1], "how stream captures end"),
}


@pytest.mark.parametrize("case", NO)
def test_a_question_is_answered_with_no(answers, case):
    check, program, change, question = NO[case]
    assert not [result for result in answers(check, {}) if result.outcome == "FAILED"]
    failed = [result for result in answers(check, {program: change}) if result.outcome == "FAILED"]
    assert failed and all(question in result.question for result in failed), failed


def test_what_the_driver_says_without_the_library_can_be_wrong_too(answers, told):
    """Questions about the driver alone."""
    answers("addresses", {}), answers("rounding", {}), answers("places", {})
    (bare,), (grown,), (places,) = (
        [key for key in told if key[:2] == (name, None)] for name in ("addresses", "pool_rounding", "places"))
    for key, change, question in (
        (bare, changed(["differ", "v1"], ["cuMemAlloc 2000 0"]), "cuGetProcAddress answers the exported address"),
        (bare, changed(["differ", "v2"], ["cuMemAlloc 2000 0"]), "cuGetProcAddress_v2 answers the exported address"),
        (grown, changed([2, 1], 513), "what a pool charges for some sizes"),
        (places, changed([1, 2, 0], 2), "memory of a pool of the host: its type and device"),
    ):
        before = copy.deepcopy(told[key])
        told[key] = change(told[key])
        failed = [result.question for result in answers(key[0].replace("pool_", ""), {}) if result.outcome == "FAILED"]
        told[key] = before
        assert failed == [question]


def test_a_driver_with_versions(answers, monkeypatch):
    import machine

    monkeypatch.setattr(machine.Machine, "driver_symbols", lambda self: ["cuInit@@libcuda.so.1"])
    (result,) = [result for result in answers("addresses", {}) if result.outcome == "FAILED"]
    assert (result.question, result.found) == ("the driver exports its functions without versions", "cuInit@@libcuda.so.1")


@pytest.mark.parametrize("way, question", [("plain", "cudaMalloc and"), ("async", "cudaMallocAsync and"), ("resolver", "asking")])
def test_what_costs_too_much(answers, way, question):
    answers("cost", {})
    dear = answers("cost", {"cost": lambda said: {**{one: 0 for one in said}, way: 10 * said[way] + 1000}}, fake=False)
    assert [result.question.startswith(question) for result in dear if result.outcome == "FAILED"] == [True]


@pytest.mark.parametrize("program, change, question", [
    ("walk", {"preloaded": False}, "the ledger"), ("walk", {"freed": 0}, "the ledger"),
    ("torch_out_of_memory", {"ours": 2}, "an out-of-memory"), ("torch_out_of_memory", {"text": "other"}, "an out-of-memory"),
    ("torch_profiler", {"kernels": 6}, "kernels that torch.profiler sees"),
])  # fmt: skip
def test_a_pytorch_that_differs(answers, program, change, question):
    assert {result.outcome for result in answers("torch", {}, fake=False)} == {"passed"}
    failed = [result for result in answers("torch", {program: lambda said: {**said, **change}}, fake=False)
              if result.outcome == "FAILED"]  # fmt: skip
    assert failed and all(question in result.question for result in failed)


def test_every_row_of_the_list_is_read(monkeypatch):
    monkeypatch.syspath_prepend(GPU_CHECK)
    import api

    functions = api.driver_functions()
    assert len({function.name for function in functions}) == api.LIST.read_text().count("\nDRIVER(")
    assert {f.name for f in functions if f.effect in api.ALLOCATING} >= {"cuMemAlloc_v2", "cuMemCreate", "cuArrayCreate_v2"}
