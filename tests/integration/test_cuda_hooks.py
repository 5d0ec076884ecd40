"""The hooks of CUDA, HIP and c10 on the fake GPU: they record what is true, and the program does not notice."""

import pathlib

import pytest
from programs import HERE, REPOSITORY, build_probe, run

from rig.fake_cuda import FakeCuda, compile_program

pytestmark = pytest.mark.timeout(300)

PROGRAMS = HERE / "cuda"
INCLUDE = ["-I", REPOSITORY / "src", "-I", HERE]
HIP = "-l:libamdhip64.so.6"


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return build_probe("cuda_probe", tmp_path_factory.mktemp("probe"))


@pytest.fixture
def hooked(tmp_path, probe):
    """hooked(NAME, argument..., runtime="13", link=[], preload=[...], variables={}, **FakeCuda's options): what the
    program printed, with the hooks at work."""

    def start(name, *arguments, runtime="13", link=(), preload=None, variables={}, **options):
        gpu = FakeCuda(tmp_path, **options)
        program = tmp_path / f"{name}-{runtime}"
        if not program.exists():
            compile_program(PROGRAMS / f"{name}.c", program, *INCLUDE, *link, runtime=runtime)
        preload = [probe] if preload is None else preload
        preloads = {"LD_PRELOAD": ":".join(map(str, preload))} if preload else {}
        return run([program, *arguments], **gpu.environment, **preloads, **variables)[0]

    return start


@pytest.mark.parametrize("runtime", ["12", "13"])
def test_every_function_of_the_list(hooked, runtime):
    hooked("hooked_functions", runtime=runtime, link=[HIP], memory="1G")
