"""A program on a fake GPU with the library and an agent: for tests of what its spans say of GPU memory. PyTorch's allocators are the
outline of them in tests/fakes/cuda; tests/check_torch has the real ones."""

import json

import pytest
from programs import HERE, LIBRARY, REPOSITORY, run
from rig import pythons, session
from rig.fake_cuda import FakeCuda

FAKES = REPOSITORY / "tests" / "fakes" / "comfyui"
PYTHONS = pythons.find()
ENDS = sorted({list(PYTHONS)[0], list(PYTHONS)[-1]})
BACKENDS = {"native": "", "async": "backend:cudaMallocAsync", "expandable": "expandable_segments:True"}
MIB = 1 << 20


class Gpu:
    """A program with the library, an agent and a fake GPU."""

    def __init__(self, folder, agent, version, generation, backend, **options):
        self.agent, self.python, self.generation = agent, PYTHONS[version], generation
        self.fake = FakeCuda(folder, **options)
        self.environment = {
            **self.fake.environment,
            "PYTORCH_CUDA_ALLOC_CONF": BACKENDS[backend],
            "PYTHONPATH": HERE,
            "LD_PRELOAD": LIBRARY,
            "DD_TRACE_AGENT_URL": agent.url,
        }

    def run(self, program, **variables):
        """({job: what the allocator says at its end}, {job: trace}, standard error)."""
        out, err = run(
            [self.python, "-c", "from gpu_program import *\n" + program],
            cwd=FAKES / self.generation,
            **{**self.environment, **variables},
        )
        lines = [json.loads(line[7:]) for line in out.splitlines() if line.startswith("result ")]
        spans = self.agent.take_spans()
        return (
            {line["job"]: line for line in lines},
            {line["job"]: session.of_job(spans, line["job"]) for line in lines},
            err,
        )


@pytest.fixture
def gpu(agent, tmp_path):
    return lambda *arguments, **options: Gpu(tmp_path, agent, *arguments, **options)


def node(trace, node_id):
    (span,) = [span for span in trace.nodes if span["meta"]["node.id"] == node_id]
    return span


def figures(span):
    """The node's memory.vram_* and memory.pinned_* tags, by short name."""
    return {
        name.removeprefix("memory.vram_").removeprefix("memory."): value
        for name, value in span["metrics"].items()
        if name.startswith(("memory.vram_", "memory.pinned"))
    }
