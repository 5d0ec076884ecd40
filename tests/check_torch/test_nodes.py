"""Nodes that use real PyTorch on the fake GPU: their spans have what they used, to the byte, under each allocator. The
outline of these allocators that tests/integration/test_gpu_memory.py runs on is checked against the real ones by this."""

import json
import os
import pathlib
import subprocess

import pytest

from rig import session
from rig.agent import Agent
from rig.fake_cuda import FakeCuda
from rig.process import environment_without_datadog

pytestmark = pytest.mark.timeout(300)

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PYTHON = REPOSITORY / "build/venvs/torch/bin/python"
MIB = 1 << 20


@pytest.fixture
def agent(tmp_path):
    with Agent(tmp_path) as started:
        yield started


def figures(span):
    """By short name."""
    prefix = "memory.vram_"
    return {name.removeprefix(prefix): value for name, value in span["metrics"].items() if name.startswith(prefix)}


def node(trace, node_id):
    (span,) = [span for span in trace.nodes if span["meta"]["node.id"] == node_id]
    return span


@pytest.mark.parametrize("generation", ["r4", "a3"])
@pytest.mark.parametrize("allocator", ["backend:native", "backend:cudaMallocAsync", "expandable_segments:True"])
def test_nodes_have_what_they_used(tmp_path, agent, generation, allocator):
    gpu = FakeCuda(tmp_path, memory="1G")
    done = subprocess.run(
        [PYTHON, HERE / "workflows.py"],
        cwd=REPOSITORY / "tests/fakes/comfyui" / generation,
        env={
            **environment_without_datadog(),
            **gpu.environment,
            "PYTHONPATH": os.fspath(REPOSITORY / "tests/integration"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTORCH_CUDA_ALLOC_CONF": allocator,
            "PYTORCH_MEMORY_TRACKING": "true",
            "DD_TRACE_AGENT_URL": agent.url,
            "LD_PRELOAD": os.fspath(session.LIBRARY),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("result ")]
    assert [line["job"] for line in said] == ["bad", "good"]
    spans = agent.take_spans()
    bad, good = (session.of_job(spans, job) for job in ("bad", "good"))

    keep, exhaust = (node(bad, name) for name in "12")
    assert (figures(keep)["delta_bytes"], figures(keep)["peak_bytes"]) == (200 * MIB, 200 * MIB)
    for failed in (exhaust, bad.root):
        assert failed["meta"]["error.type"] == "OutOfMemoryError"
        assert failed["metrics"]["oom.requested_bytes"] == 100 * MIB
        assert failed["metrics"]["oom.allocated_bytes"] == 1000 * MIB
        groups = json.loads(failed["meta"]["oom.top_allocations"])
        assert [(group["class_type"], group["size"], group["count"]) for group in groups] == [
            ("Exhaust", 100 * MIB, 8),
            ("Keep", 200 * MIB, 1),
        ]
    assert figures(exhaust)["peak_bytes"] == 1000 * MIB

    use, root = figures(node(good, "2")), good.root["metrics"]
    assert not [name for name in root if name.startswith("oom.")]
    assert use["allocated_bytes.before"] == 200 * MIB  # node 1 comes from the cache
    assert (use["delta_bytes"], use["peak_bytes"], use["alloc_count"]) == (0, 260 * MIB, 2)
    assert (root["memory.vram.delta_bytes"], root["memory.vram.peak_bytes"]) == (0, 260 * MIB)
    assert root["memory.pytorch.allocated_bytes.after"] == said[1]["allocated"] == 200 * MIB
    assert root["gpu.memory.total_bytes"] == 1 << 30
    assert good.root["meta"]["gpu.uuid"] == "GPU-66616b65-2d63-7564-612d-677075000000"
