"""Real PyTorch and comfy-aimdo on the fake GPU: their own figures are those of its books, and so are the library's; and with the
library they do what they do without it."""

import json
import pathlib
import subprocess

import pytest

from rig.fake_cuda import FakeCuda
from rig.process import environment_without_datadog

pytestmark = pytest.mark.timeout(600)

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / "build/venvs/torch/bin/python"
PROBE = HERE.parents[1] / "build/release/check_torch/probe.so"  # the library; `make check-torch` has built it
STEPS = 10_000
GIB = 1 << 30
PAGE = 20 << 20  # what an expandable segment of large tensors grows by

NATIVE, ASYNC, EXPANDABLE = "backend:native", "backend:cudaMallocAsync", "expandable_segments:True"
allocators = pytest.mark.parametrize("allocator", [NATIVE, ASYNC, EXPANDABLE])
preloads = pytest.mark.parametrize("preload", [False, True], ids=["bare", "with comfydd"])


@pytest.fixture
def torch_program(tmp_path):
    """torch_program(allocator, preload, NAME, argument..., **FakeCuda's options): (lines of JSON that it printed, the GPU's
    stats)."""

    def start(allocator, preload, name, *arguments, **options):
        gpu = FakeCuda(tmp_path, **options)
        variables = {"LD_PRELOAD": PROBE} if preload else {}
        done = subprocess.run(
            [PYTHON, HERE / name, *map(str, arguments)],
            env={
                **environment_without_datadog(),
                **gpu.environment,
                **variables,
                "PYTORCH_CUDA_ALLOC_CONF": allocator,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()], gpu.stats()

    return start


@preloads
@allocators
def test_figures_are_the_books_all_along(torch_program, allocator, preload):
    (done,), stats = torch_program(allocator, preload, "walk.py", STEPS, memory="512M", devices=2)
    assert done["preloaded"] == preload
    assert done["allocated"] > STEPS / 3 and done["freed"] > STEPS / 3 and done["emptied"]
    assert done["out of memory"] > 3 and min(done["peaks"]) > 0.97 * (512 << 20)
    used = {name for name in ("cuMemAlloc_v2", "cuMemAllocAsync", "cuMemCreate") if stats.calls.get(name)}
    assert used == {{NATIVE: "cuMemAlloc_v2", ASYNC: "cuMemAllocAsync", EXPANDABLE: "cuMemCreate"}[allocator]}


@preloads
@allocators
def test_out_of_memory(torch_program, allocator, preload):
    (figures,), _ = torch_program(allocator, preload, "out_of_memory.py", memory="8G")
    assert figures["after"] == 0
    if allocator == ASYNC:
        assert "Allocation on device 0 would exceed allowed memory" in figures["text"]
        assert (figures["in_use"], figures["ooms"], figures["retries"]) == (8 * GIB, 0, 0)
    else:
        assert "CUDA out of memory. Tried to allocate 1024.00 MiB" in figures["text"]
        assert figures["ooms"] == 1
        assert figures["retries"] >= 1
        assert 7 * GIB < figures["in_use"] <= 8 * GIB
    whole_pages = -(-7 * GIB // PAGE) * PAGE
    assert figures["large"] == {NATIVE: 2 * GIB, ASYNC: 7 * GIB, EXPANDABLE: whole_pages}[allocator]
    assert figures["ours"] == (figures["ooms"] if preload else None)


@pytest.mark.parametrize("allocator", [NATIVE, ASYNC])
def test_aimdo_evicts_weights_to_make_room(torch_program, allocator):
    lines, stats = torch_program(allocator, False, "weights.py", memory="2G")
    steps = {line["what"]: line for line in lines if line["what"] not in ("model", "tensor")}
    models = [line for line in lines if line["what"] == "model"]
    tensors = [line for line in lines if line["what"] == "tensor"]
    assert len(models) == 3 and len(tensors) == 12 and "out of memory" not in steps
    for line in models + tensors:  # every byte of weights is physical memory, and what is there fits
        assert line["physical"] == sum(line["loaded"])
        assert line["in_use"] <= 2 * GIB
    assert sum(models[2]["loaded"]) < 3 * GIB and models[2]["loaded"][2] == GIB
    assert sum(tensors[-1]["loaded"]) < sum(tensors[0]["loaded"])
    assert steps["end"]["physical"] == stats.devices[0]["physical"] == 0
    assert stats.calls["cuMemUnmap"] and stats.calls["cuMemRelease"] == stats.calls["cuMemCreate"]


@allocators
def test_aimdo_decides_the_same_with_the_library(torch_program, allocator):
    bare, before = torch_program(allocator, False, "weights.py", memory="2G")
    traced, after = torch_program(allocator, True, "weights.py", memory="2G")
    assert traced == bare
    ours = {"cuCtxGetCurrent", "cuCtxGetDevice"}  # what hooks ask the driver
    assert {name for name in after.calls if after.calls[name] != before.calls.get(name)} <= ours
    assert not set(before.calls) - set(after.calls)
