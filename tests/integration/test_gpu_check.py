"""scripts/gpu-check, on the fake GPU: it comes to its end, claims no hardware, and notices what is not as it expects."""

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
        "cuGetProcAddress answers the exported address: 189 of 189",
        "cuGetProcAddress_v2 answers the exported address: 189 of 189",
        "shared runtime, cudaMalloc, 1 KiB: one driver call each: 100 calls, 100 seen in the runtime, cuMemAlloc_v2 × 100",
        "static runtime, cudaMalloc, 1 KiB: one driver call each: 100 calls, 0 seen in the runtime, cuMemAlloc_v2 × 100",
        "cudaMallocAsync, odd sizes: the ledger is what cuMemGetInfo tells",
        "cuMemCreate and cuMemMap: the ledger is what cuMemGetInfo tells",
        "a pool charges multiples of 512 bytes",
        "stream captures end the same with the library",
        "uuid and name are those of NVML",
    ):
        assert question in asked, question


def test_a_runtime_that_cuts_its_allocations_is_found_out(gpu_check, cutting_runtime):
    code, lines = gpu_check("--fake", "layers", CUDA_LIB=cutting_runtime)
    assert code == 1
    small, ledger = lines_of("FAILED", lines)
    assert small.startswith("FAILED: shared runtime, cudaMalloc, 1 KiB: one driver call each: 100 calls")
    assert "cuMemAlloc_v2 × 1;" in small
    assert ledger.startswith("FAILED: shared runtime: the ledger has all while it lives, and nothing after")


def test_a_program_that_breaks_is_a_failure(gpu_check):
    code, lines = gpu_check("--fake", "ledger", "rounding", FAKE_CUDA_FAIL="cuMemCreate:2")
    assert code == 1
    assert lines[1].startswith("FAILED: ledger: ledger.py ended with 1: cuda.Error: cuMemCreate: error 2")
    assert lines[2].startswith("passed: a pool charges")


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
    report.write(document, "a GPU", [report.judge("a | b", True, "1"), report.judge("c", False, "2")])
    text = document.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n") and text.endswith(f"{report.END}\nafter\n")
    assert "a GPU. 1 passed, 1 failed, 0 skipped." in text and "old" not in text
    assert "| passed | a \\| b | 1 |" in text and "| FAILED | c | 2 |" in text


def test_every_row_of_the_list_is_read(monkeypatch):
    monkeypatch.syspath_prepend(GPU_CHECK)
    import api

    functions = api.driver_functions()
    assert len({function.name for function in functions}) == api.LIST.read_text().count("\nDRIVER(")
    assert {f.name for f in functions if f.effect in api.ALLOCATING} >= {"cuMemAlloc_v2", "cuMemCreate", "cuArrayCreate_v2"}
