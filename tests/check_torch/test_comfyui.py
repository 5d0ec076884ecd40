"""A real ComfyUI with real PyTorch on the fake GPU: its nodes have what they used, to the byte, under each allocator, and an
out-of-memory is told from what comes after it. COMFYUI names the checkout; COMFYUI_PYTHON an interpreter with the
PyTorch of `make check-torch` and the checkout's requirements: build/venvs/torch/bin/python, once it has installed them."""

import json
import os
import pathlib

import pytest

from rig import comfyui, session
from rig.agent import Agent
from rig.fake_cuda import FakeCuda
from rig.products import LIBRARY

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not os.environ.get("COMFYUI"),
        reason="needs a ComfyUI checkout: COMFYUI=dir COMFYUI_PYTHON=its-interpreter",
    ),
]

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
ALLOCATORS = {  # options of ComfyUI, PyTorch's setting
    "cudaMallocAsync": ([], ""),
    "native": (["--disable-cuda-malloc"], "backend:native"),
    "expandable": (["--disable-cuda-malloc"], "expandable_segments:True"),
}


class OnGpu(comfyui.Checkout):
    def __init__(self, options):
        found = comfyui.checkout_from_environment()
        super().__init__(found.folder, found.python)
        self.custom_nodes.append(HERE / "custom_nodes")
        self.more = options

    def command(self, folder):
        return [word for word in super().command(folder) if word != "--cpu"] + self.more


def prompt(last, size):
    """200 MiB that are kept, then node 2, which is `last`."""
    return {
        "1": {"class_type": "ComfyddKeep", "inputs": {"size": 200}},
        "2": {"class_type": last, "inputs": {"value": ["1", 0], "size": size}},
    }


def vram(span, name):
    return span["metrics"]["memory.vram_" + name]


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_nodes_have_what_they_used(tmp_path, allocator):
    options, setting = ALLOCATORS[allocator]
    gpu = FakeCuda(tmp_path, memory="2G")
    environment = {**gpu.environment, **({"PYTORCH_CUDA_ALLOC_CONF": setting} if setting else {})}
    with Agent(tmp_path) as agent:
        environment["DD_TRACE_AGENT_URL"] = agent.url
        with comfyui.ComfyUI(OnGpu(options), tmp_path / "app", LIBRARY, environment) as application:
            for job, last, size in (("bad", "ComfyddExhaust", 100), ("good", "ComfyddUse", 30)):
                application.wait(application.submit(prompt(last, size), {"job_id": job}))
        spans = agent.take_spans()
    assert "Fake CUDA Device" in application.log()
    assert ("cudaMallocAsync" in application.log()) == (allocator == "cudaMallocAsync")
    bad, good = (session.of_job(spans, job) for job in ("bad", "good"))

    nodes = {span["meta"]["node.id"]: span for span in bad.nodes}
    assert (vram(nodes["1"], "delta_bytes"), vram(nodes["1"], "peak_bytes")) == (200 * MIB, 200 * MIB)
    for failed in (nodes["2"], bad.root):
        assert failed["meta"]["error.type"] == "OutOfMemoryError"
        assert failed["metrics"]["oom.requested_bytes"] == 100 * MIB
        assert failed["metrics"]["oom.allocated_bytes"] == 2000 * MIB
        largest = json.loads(failed["meta"]["oom.top_allocations"])[0]
        assert (largest["class_type"], largest["node_id"], largest["count"]) == ("ComfyddExhaust", "2", 18)

    # ComfyUI tries the GPU with tensors of a byte (discard_cuda_async_error) while the exception still holds the large ones.
    assert 0 <= vram(nodes["2"], "peak_bytes") - 2000 * MIB <= 3 * 512

    (use,) = [span for span in good.nodes if span["meta"]["node.id"] == "2"]
    before = vram(use, "allocated_bytes.before")
    assert before >= 200 * MIB
    assert (vram(use, "delta_bytes"), vram(use, "peak_bytes")) == (0, before + 60 * MIB)
    assert not [name for name in good.root["metrics"] if name.startswith("oom.")]
