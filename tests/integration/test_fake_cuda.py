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


def test_python_reads_the_books_as_they_are(on_gpu, monkeypatch):
    """`make check-torch` reads them where they are: with another layout the reader's memory would be written over."""
    monkeypatch.syspath_prepend(PROGRAMS.parents[1] / "check_torch")
    import books

    stats = on_gpu("fake_books", memory="64M")[0].stats()
    assert [name for name in stats.host if name + "_count" in stats.host] == list(books.KINDS)


def test_threads_keep_the_books_right(on_gpu):
    on_gpu("fake_threads")


def test_a_freed_block_is_in_the_log(on_gpu):
    gpu, _ = on_gpu("fake_fork", log=True)
    log = gpu.log()
    at = [log.index(name) for name in ("cudaMalloc", "cuMemAlloc_v2", "cudaFree", "cuMemFree_v2")]
    assert at == sorted(at)
    added, removed = ([line for line in log if line.startswith(sign)] for sign in "+-")
    assert len(added) == 1 and removed == [added[0].replace("+", "-")]


def test_calls_fail_on_request(on_gpu):
    on_gpu("fake_failures", fail=["cudaMalloc:46:2:1"])


@pytest.mark.parametrize("version", [12040, 13000, 13020])
def test_the_version_asked_for_is_given(on_gpu, version):
    on_gpu("fake_resolver", str(version), runtime=None, version=version)


def test_two_majors_of_the_runtime_live_side_by_side(on_gpu):
    on_gpu("fake_majors", runtime=None, link=())


def test_illegal_calls_end_a_capture(on_gpu):
    on_gpu("fake_capture")


def test_cuda_does_not_survive_a_fork(on_gpu):
    gpu, _ = on_gpu("fake_fork")
    assert gpu.stats().devices[0]["in_use"] == 0


def test_hip_keeps_the_same_books(on_gpu):
    on_gpu("fake_hip", runtime=None, link=["-l:libamdhip64.so.6"], memory="64M")


def hexadecimal(kind, device):
    return (f"fake-cuda-{kind}".encode() + bytes([0, 0, device])).hex()


def text(kind, device):
    digits = hexadecimal(kind, device)
    return "-".join((kind.upper(), digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


DEVICES = {
    "all": ({}, "gpu", [0, 1, 2]),
    "by number": ({"CUDA_VISIBLE_DEVICES": "2,0"}, "gpu", [2, 0]),
    "up to a wrong one": ({"CUDA_VISIBLE_DEVICES": "1,7,0"}, "gpu", [1]),
    "by uuid": ({"CUDA_VISIBLE_DEVICES": text("gpu", 1)}, "gpu", [1]),
    "instances": ({"CUDA_VISIBLE_DEVICES": text("mig", 2)}, "mig", [2]),
}


@pytest.mark.parametrize("which", DEVICES)
def test_devices_are_those_that_are_visible(on_gpu, which):
    variables, kind, visible = DEVICES[which]
    link = ["-l:libcuda.so.1", "-l:libnvidia-ml.so.1"]
    _, out = on_gpu("fake_devices", link=link, devices=3, memory="1G", mig=kind == "mig", variables=variables)
    lines = out.splitlines()
    name = "Fake CUDA Device" + (" MIG 1g.10gb" if kind == "mig" else "")
    assert lines[: len(visible)] == [
        f"{hexadecimal(kind, device)} {hexadecimal('gpu', device)} {name}: {(n + 1) << 10} of {1 << 30}"
        for n, device in enumerate(visible)
    ]
    used = {device: (n + 1) << 10 for n, device in enumerate(visible)}
    assert lines[len(visible) :] == [f"{text(kind, device)}: {used.get(device, 0)}" for device in range(3)]


def test_no_device(on_gpu):
    _, out = on_gpu("fake_burst", devices=0)
    assert out == "100\n"


def test_nvidias_runtime_finds_every_function_and_refuses_the_driver(on_gpu):
    gpu, out = on_gpu("fake_burst", runtime="NVIDIA", log=True)
    looked_up = [line.split()[2:] for line in gpu.log() if line.startswith("  look up")]
    assert len(looked_up) > 400
    assert all(words[-1] == "0" for words in looked_up if words[0].startswith("cu"))
    assert {words[3] for words in looked_up if words[0] == "cuMemAllocAsync"} == {"0:", "2:"}
    assert int(out) != 0 and gpu.stats().devices[0]["peak"] == 0
