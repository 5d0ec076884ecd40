"""The hooks of CUDA, HIP and c10 on the fake GPU: they record what is true, and the program does not notice."""

import re
import subprocess

import pytest
from programs import HERE, LIBRARY, REPOSITORY, build_probe, run

from rig.fake_cuda import LIBRARIES as FAKES
from rig.fake_cuda import FakeCuda, compile_program

pytestmark = pytest.mark.timeout(300)

PROGRAMS = HERE / "cuda"
INCLUDE = ["-I", REPOSITORY / "src", "-I", HERE]
HIP = "-l:libamdhip64.so.6"


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return build_probe("cuda_probe", tmp_path_factory.mktemp("probe"), "cuda/hooks_dlsym.o", "cuda/hooks_dlclose.o")


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
        return run([program, *arguments], **{**gpu.environment, **preloads, **variables})[0]

    return start


@pytest.mark.parametrize("runtime", ["12", "13"])
def test_every_function_of_the_list(hooked, runtime):
    hooked("hooked_functions", runtime=runtime, link=[HIP], memory="1G")


@pytest.mark.parametrize("variables", [{}, {"LD_BIND_NOW": "1"}], ids=["lazily", "at once"])
def test_every_function_of_a_program_that_is_linked_with_the_driver(hooked, variables):
    hooked("hooked_functions", link=["-DLINKED", "-l:libcuda.so.1", HIP], memory="1G", variables=variables)


# ---- other runtimes and libraries in between ----


@pytest.fixture
def library(tmp_path):
    """library(SOURCE, file name, runtime=None, link=[]): a shared library of the tests, in a folder of its own."""

    def build(source, name, runtime=None, link=()):
        folder = tmp_path / "libraries"
        folder.mkdir(exist_ok=True)
        flags = ["-shared", "-fPIC", *INCLUDE, *link]
        return compile_program(PROGRAMS / f"{source}.c", folder / name, *flags, runtime=runtime)

    return build


def test_every_function_of_rocm(hooked, library):
    rocm = library("whole_hip", "libamdhip64.so.6", link=["-Wl,-soname,libamdhip64.so.6"])
    path = {"LD_LIBRARY_PATH": f"{rocm.parent}:{FAKES}"}
    hooked("hooked_hip", runtime=None, link=[f"-Wl,-rpath,{rocm.parent}", rocm], variables=path)


def test_a_runtime_inside_the_program_is_seen_through_the_driver(hooked):
    hooked("hooked_static", runtime="static", memory="1G")


@pytest.mark.parametrize("hooks", [True, False])
@pytest.mark.parametrize("name", ["aimdo.so", "libother.so"])
def test_an_interposer_before_the_runtime_is_still_called(hooked, library, hooks, name):
    """As comfy-aimdo up to 0.2.9: an inner failure that it mends is none, whether or not it is given our wrappers, and its
    evictions count."""
    preload = None if hooks else []
    hooked("hooked_interposer", library("interposer", name), runtime=None, memory="64M", preload=preload)


@pytest.mark.parametrize("order", ["12,13", "13,12", "none,13", "13,none,12"])
@pytest.mark.parametrize("way", ["local", "global"])
def test_each_library_has_its_own_runtime(hooked, library, order, way):
    """Versioned callers of two majors, and one without a version, which gets the first runtime of all."""
    ways = [way] * len(order.split(","))
    plugins = []
    for number, runtime in enumerate(order.split(",")):
        path = library("plugin", f"plugin-{number}.so", runtime=None if runtime == "none" else runtime)
        plugins.append((runtime, path))
    if "none" in order:  # must find a runtime that is there for all
        plugins.sort(key=lambda plugin: plugin[0] == "none")
        ways = ["global"] * len(ways)
    arguments = [f"{way}:{path}" for way, (_, path) in zip(ways, plugins)]
    bare = hooked("hooked_plugins", *arguments, runtime=None, preload=[], memory="1G")
    traced = hooked("hooked_plugins", *arguments, runtime=None, memory="1G")
    for (runtime, _), without, line in zip(plugins, bare.splitlines(), traced.splitlines(), strict=True):
        assert "1000 bytes in 1, 1 failed" in line
        assert line.split(";")[1] == without.split(";")[1], runtime  # whose error it was


@pytest.fixture
def plugins(library):
    """plugins(count): as many, each with a runtime of its own under a name of its own (auditwheel's libcudart-1234abcd.so.12)."""

    def build(count):
        paths = []
        for number in range(1, count + 1):
            name = f"libcudart-{number}.so.12"
            needed = library("small_runtime", name, link=[f"-Wl,-soname,{name}", f"-DFIRST={number << 40}ull"])
            paths.append(library("plugin", f"plugin-{number}.so", link=[needed, f"-Wl,-rpath,{needed.parent}"]))
        return paths

    return build


@pytest.mark.parametrize("count", [5, 12])
def test_many_runtimes(hooked, plugins, count):
    hooked("hooked_runtimes", *plugins(count), runtime=None)


def test_libraries_that_come_and_go_on_several_threads(hooked, plugins):
    """Loaded where another has just been, which dlclose has not come back from telling us (it crashed)."""
    hooked("hooked_comings", *plugins(8), runtime=None)


def test_a_library_that_comes_where_another_is_being_unloaded(hooked, plugins):
    """What is forgotten of the one that went is not what another has found meanwhile (a call went to a third's runtime)."""
    hooked("hooked_replaced", *plugins(3), runtime=None, link=["-D_GNU_SOURCE", "-rdynamic"])


@pytest.mark.parametrize("way", ["deep", "own"])
def test_past_the_hooks(hooked, library, way):
    """RTLD_DEEPBIND and dlmopen go past every exported function: nothing is seen then, and nothing breaks."""
    plugin = library("plugin", "plugin.so", runtime="13")
    out = hooked("hooked_plugins", f"{way}:{plugin}", runtime=None, memory="1G")
    assert "0 bytes in 0, 0 failed; error 2, others' 0" in out


# ---- lookups ----


def test_lookups_of_others_are_left_alone(hooked, library):
    forwarder = library("forwarder", "libforwarder.so")
    bare = hooked("hooked_lookups", forwarder, runtime=None, preload=[])
    assert "ompt_start_tool: 7" in bare and "after a failure and a success" in bare
    assert hooked("hooked_lookups", forwarder, runtime=None) == bare


def listed():
    """The driver's functions of the list: {name as exported}."""
    text = (REPOSITORY / "src/cuda/cuda_api.def").read_text()
    return set(re.findall(r"^DRIVER\((\w+),", text, re.M))


@pytest.mark.parametrize("version", [11020, 12040, 13000, 13020])
def test_every_question_to_the_resolver(hooked, version):
    """Names, versions, flags, both of its own forms, without a status: as the driver answers, with wrappers for exactly
    the functions of the list (HAMi-core issues 57, 65, 233, 320); of a driver newer than we know too (HAMi issue 1834, HAMi-core
    issues 52, 59)."""
    bare = hooked("hooked_resolver", runtime=None, preload=[], version=version)
    hooked_names = listed()
    expected = "\n".join(
        " ".join("hooked" if word in hooked_names else word for word in line.split(" ")[1:])
        for line in bare.splitlines()
    )
    got = hooked("hooked_resolver", runtime=None, version=version)
    assert "\n".join(" ".join(line.split(" ")[1:]) for line in got.splitlines()) == expected
    assert "hooked" in got


PATCHED = {
    "cuMemAlloc_v2", "cuMemFree_v2", "cuMemAllocAsync", "cuMemAllocAsync_ptsz", "cuMemFreeAsync", "cuMemFreeAsync_ptsz"
}  # fmt: skip


def test_comfy_aimdo_gets_the_code_that_it_patches(hooked, library):
    aimdo = library("aimdo", "aimdo.so")
    bare = hooked("hooked_resolver", aimdo, runtime=None, preload=[]).splitlines()
    got = hooked("hooked_resolver", aimdo, runtime=None).splitlines()
    assert (bare[:2], got[:2]) == (["cuMemAlloc_v2", "cuMemCreate"], ["cuMemAlloc_v2", "hooked"])
    hooked_names = listed() - PATCHED
    for without, line in zip(bare[2:], got[2:], strict=True):
        expected = ["hooked" if word in hooked_names else word for word in without.split(" ")[1:]]
        assert line.split(" ")[1:] == expected, without


# ---- what must not change ----


@pytest.mark.parametrize("runtime", ["12", "13", "static"])
def test_errors_captures_and_missing_arguments_are_the_programs_own(hooked, runtime):
    bare = hooked("hooked_state", runtime=runtime, preload=[], memory="1G")
    assert "errno 77, pending" in bare and "capturing 1" in bare
    assert hooked("hooked_state", runtime=runtime, memory="1G") == bare
    assert hooked("hooked_state", runtime=runtime, memory="1G", variables={"PROBE_IDLE": "1"}) == bare
    assert hooked("hooked_state", runtime=runtime, memory="1G", preload=[LIBRARY]) == bare


@pytest.mark.parametrize("how", ["atexit", "fork", "vfork", "thread", "_exit", "nothing"])
def test_the_end_of_a_program(hooked, how):
    """Threads free in their last moments too, when their storage has been taken apart (memray issue 732)."""
    bare = hooked("hooked_exit", how, preload=[])
    assert hooked("hooked_exit", how) == bare
    assert hooked("hooked_exit", how, preload=[LIBRARY]) == bare


@pytest.mark.parametrize("program", ["fake_books", "fake_capture", "fake_failures", "fake_majors", "fake_threads"])
def test_programs_that_ask_for_much_are_content(hooked, program):
    """What the fake GPU is tested with, under the hooks: they assert results, errors, captures and books."""
    options = {
        "fake_books": {"memory": "64M"},
        "fake_failures": {"fail": ["cudaMalloc:46:2:1"]},
        "fake_majors": {"runtime": None},
    }.get(program, {})
    link = [] if program == "fake_majors" else ["-l:libcuda.so.1"]
    hooked(program, link=link, **options)


@pytest.mark.parametrize("variables", [{}, {"LD_BIND_NOW": "1"}], ids=["lazily", "at once"])
def test_every_name_bound(hooked, variables):
    hooked("hooked_functions", link=[HIP], memory="1G", variables=variables)


def test_beside_jemalloc(hooked, probe):
    """Whose start must not wait for a lookup of ours (jemalloc issues 329, 443, fakechroot issue 21)."""
    found = re.search(
        r"libjemalloc\.so\.2 .*=> (\S+)",
        subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout,
    )
    if not found:
        pytest.skip("no jemalloc here")
    for preload in ([probe, found[1]], [found[1], probe]):
        hooked("hooked_functions", link=[HIP], memory="1G", preload=preload)


@pytest.mark.parametrize("first", ["probe", "copy"])
def test_beside_another_copy(hooked, probe, first):
    """A library that is preloaded twice, by different paths: the one whose hooks were not begun passes on."""
    preload = [probe, LIBRARY] if first == "probe" else [LIBRARY, probe]
    hooked("hooked_static", runtime="13", memory="1G", preload=preload)


def test_under_an_auditor(hooked, library):
    hooked("hooked_static", runtime="13", memory="1G", variables={"LD_AUDIT": library("auditor", "auditor.so")})


def test_addresses_that_the_driver_does_not_export(hooked, library):
    driver = library("hidden_driver", "libcuda.so.1", link=["-Wl,-soname,libcuda.so.1"])
    hooked("hooked_hidden", runtime=None, variables={"LD_LIBRARY_PATH": f"{driver.parent}:{FAKES}"})


def test_a_driver_that_is_closed_and_opened_again(hooked, library):
    """As by programs that only look whether there is a GPU: what was known of the driver is of where it was."""
    driver = library("hidden_driver", "libcuda.so.1", link=["-Wl,-soname,libcuda.so.1"])
    hooked("hooked_closed", runtime=None, variables={"LD_LIBRARY_PATH": f"{driver.parent}:{FAKES}"})


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize(
    "plugin, linked, name, function",
    [
        ("driver_plugin", "hidden_driver", "libcuda.so.1", "cuCtxGetCurrent"),
        ("plugin", "small_runtime", "libcudart.so.13", "cudaRuntimeGetVersion"),
    ],
)
def test_a_plugin_that_is_closed_with_what_it_is_linked_with(
    hooked, library, plugin, linked, name, function, traced
):
    needed = library(linked, name, link=[f"-Wl,-soname,{name}"])
    path = library(plugin, "plugin.so", link=[needed])
    variables = {"LD_LIBRARY_PATH": f"{needed.parent}:{FAKES}"}
    preload = None if traced else [LIBRARY]
    hooked("hooked_unloaded", path, function, runtime=None, preload=preload, variables=variables)


def test_eight_threads_and_a_hundred_thousand_allocations(hooked):
    hooked("hooked_threads", memory="64G")


@pytest.mark.parametrize("has_driver", [True, False])
def test_lookups_do_not_find_what_is_exported_for_linked_programs(hooked, has_driver):
    """A program that looks whether there is a driver; and one that patches what it finds, as UCX does."""
    link = ["-l:libcuda.so.1", "-ldl"] if has_driver else ["-DWITHOUT", "-ldl"]
    bare = hooked("hooked_linked", runtime=None, link=link, preload=[])
    assert ("cuMemAlloc_v2: libcuda.so.1" if has_driver else "cuMemAlloc_v2: none, ") in bare
    assert ("allocating without a context: 3" in bare) == has_driver
    assert hooked("hooked_linked", runtime=None, link=link, preload=[LIBRARY]) == bare
    by_handle = "of the program: "  # finds the driver's too, and is given the wrapper
    out = hooked("hooked_linked", runtime=None, link=link)
    assert out.replace(f"{by_handle}cuda_probe.so", f"{by_handle}libcuda.so.1") == bare


def test_a_linked_program_and_an_interposer_after_us(hooked, library, probe):
    """Whose limits, say, still hold (HAMi-core): it is called, and calls the driver."""
    other = library("limiter", "limiter.so", link=["-ldl"])
    linked = ["-DLINKED", "-l:libcuda.so.1"]
    out = hooked("hooked_limited", link=linked, preload=[probe, other])
    assert out == hooked("hooked_limited", link=linked, preload=[other]) == "refused: 2\nallowed: 0\n"


def test_every_function_from_eight_threads(hooked):
    hooked("hooked_functions", "8", link=[HIP], memory="8G")


@pytest.mark.parametrize("how", ["runtime", "driver", "graph"])
def test_what_is_allocated_for_a_graph_is_the_graphs(hooked, how):
    hooked("hooked_graphs", how, link=["-l:libcuda.so.1"])


# ---- anything in any order ----


WALKS = {"alone": (1, 3000), "eight": (8, 1000)}


@pytest.mark.parametrize("stacks", [False, True], ids=["", "stacks"])
@pytest.mark.parametrize("way", WALKS)
@pytest.mark.parametrize("allocator", ["", "backend:cudaMallocAsync", "expandable_segments:True"])
def test_a_random_walk(hooked, allocator, way, stacks):
    """Ledger, counters, peaks and counts are the books', whatever comes after what, and whatever fails."""
    threads, steps = WALKS[way]
    variables = {"PYTORCH_CUDA_ALLOC_CONF": allocator, **({"PROBE_STACKS": "1"} if stacks else {})}
    link = ["-l:libcuda.so.1", "-l:libc10_cuda.so"]
    hooked("hooked_walk", "1", str(steps), str(threads), link=link, memory="256M", devices=2, variables=variables)


# ---- what has broken others ----


@pytest.mark.parametrize("limit", ["addresses", "data"])
def test_without_memory_for_the_ledger(hooked, limit):
    """ulimit -v, ulimit -d."""
    out = hooked("hooked_hazards", limit, memory="1G")
    assert out.count("no memory to record GPU allocations") == 1


@pytest.mark.parametrize("traced", [True, False])
def test_a_fork_while_others_allocate(hooked, traced):
    """HAMi-core issue 199."""
    hooked("hooked_storm", "fork", link=["-l:libcuda.so.1"], preload=None if traced else [])


@pytest.mark.parametrize("library", ["probe", "library"])
def test_exit_while_others_allocate(hooked, probe, library):
    for _ in range(5):
        hooked("hooked_storm", "exit", link=["-l:libcuda.so.1"], preload=[probe if library == "probe" else LIBRARY])


def test_a_reset_while_others_allocate(hooked):
    hooked("hooked_hazards", "reset", memory="1G")


def test_a_free_while_another_device_is_current(hooked):
    hooked("hooked_hazards", "device", memory="1G", devices=2)


def test_the_loaders_locks(hooked, library):
    """Hooks that are called with the loader locked, and that ask it about new callers (memray issue 549)."""
    hooked("hooked_hazards", "loader", library("plugin", "plugin.so", runtime="13"), memory="1G")


def test_exit_in_a_constructor(hooked, library):
    """Nothing is waited for at exit, which may come with the loader locked (torch issue 189110)."""
    exiter = library("exiter", "exiter.so", runtime="13")
    bare = hooked("hooked_hazards", "constructor", exiter, preload=[])
    assert bare == "leaving: 0\n"
    assert hooked("hooked_hazards", "constructor", exiter) == bare
    assert hooked("hooked_hazards", "constructor", exiter, preload=[LIBRARY]) == bare


# ---- PyTorch's reports ----


@pytest.fixture
def torch_libraries(library):
    c10 = library("c10", "libc10.so", link=["-Wl,-soname,libc10.so"])
    library("c10_cuda", "libc10_cuda.so", runtime="13", link=[c10, "-Wl,-rpath,$ORIGIN"])
    return c10.parent


def test_tensors_and_segments(hooked, torch_libraries):
    hooked("hooked_c10", torch_libraries, "caches", memory="1G")


def test_without_caching_there_are_no_segments(hooked, torch_libraries):
    variables = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    hooked("hooked_c10", torch_libraries, "not", memory="1G", variables=variables)


@pytest.mark.parametrize("preload", [None, []])
def test_reports_reach_pytorch_without_us(hooked, torch_libraries, preload):
    hooked("hooked_c10", torch_libraries, "not", preload=preload, memory="1G", variables={"PROBE_IDLE": "1"})
