"""The fake GPU does what tests on it rely on."""

import pathlib

import pytest
from programs import run

from rig.fake_cuda import FakeCuda, compile_program

pytestmark = pytest.mark.timeout(300)

PROGRAMS = pathlib.Path(__file__).resolve().parent / "cuda"


@pytest.fixture
def on_gpu(tmp_path):
    """on_gpu(NAME, argument..., runtime="13", link=[], **FakeCuda's options): (the GPU, what the program printed)."""

    def start(name, *arguments, runtime="13", link=("-l:libcuda.so.1",), variables={}, **options):
        gpu = FakeCuda(tmp_path, **options)
        program = compile_program(PROGRAMS / f"{name}.c", tmp_path / name, *link, runtime=runtime)
        out, _ = run([program, *arguments], **gpu.environment, **variables)
        return gpu, out

    return start


@pytest.mark.parametrize("runtime", ["12", "13", "static"])
def test_the_books_are_right_under_every_way_of_allocating(on_gpu, runtime):
    gpu, _ = on_gpu("fake_books", runtime=runtime, memory="64M")
    stats = gpu.stats()
    assert not stats.stubs
    for kind in ("plain", "async", "managed", "array", "physical", "mapping"):
        assert stats.devices[0][kind] == stats.devices[0][kind + "_count"] == 0, kind
    assert stats.host["pinned"] == stats.host["registered"] == 0
