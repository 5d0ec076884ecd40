"""Children of the traced process: the library is loaded into every one of them, and none may notice.

A child runs twice, bare and with the library preloaded, in empty folders of its own. Output, exit code,
threads and descriptors must be the same, and no file may be left. Under strace it must also make the same
system calls as with a library built from an empty file.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import sys
import xml.etree.ElementTree

import pytest

from rig import pythons
from rig.products import LIBRARY

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
DEADLINE = 60  # seconds for one child

pytestmark = pytest.mark.timeout(180)


def find_pythons():
    """Every CPython of this machine, those too that are too old and must be left alone: {name: path}."""
    found = {"tests": sys.executable, "system": "/usr/bin/python3", **pythons.find()}
    for version in ("2.7", "3.6", "3.7", "3.8"):
        for path in (pathlib.Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"):
            found[version] = str(path)
    chroots = str(BUILD / "pythons")  # shell scripts that lead there are not the children meant here
    return {
        name: path for name, path in found.items() if os.path.exists(path) and not path.startswith(chroots)
    }


PYTHONS = find_pythons()
every_python = pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())


def compiled(name, *command):
    """Builds a program of the tests in build/children."""
    folder = BUILD / "children"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, "-o", folder / f"{name}.new"], check=True)
    return (folder / f"{name}.new").rename(folder / name)


@pytest.fixture(scope="session")
def empty_library(tmp_path_factory):
    source = tmp_path_factory.mktemp("empty") / "empty.c"
    source.write_text("")
    return compiled("libempty.so", "gcc", "-shared", "-fPIC", source)


@pytest.fixture(scope="session")
def probes():
    source = HERE / "child_probe.c"
    return {
        "glibc": compiled("probe-glibc", "gcc", source),
        "static": compiled("probe-static", "gcc", "-static", source),
        "musl": compiled("probe-musl", "musl-gcc", source),
        "musl-static": compiled("probe-musl-static", "musl-gcc", "-static", source),
    }


class Child:
    """Runs commands, each in an empty home of its own."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, name, command, preload, **variables):
        """(exit code, stdout, stderr, files left), with the home's name taken out of the texts."""
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"LD_PRELOAD": preload} if preload else {}),
            **variables,
        }
        done = subprocess.run(
            [str(word) for word in command],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        texts = [text.replace(str(home), "HOME") for text in (done.stdout, done.stderr)]
        return (done.returncode, *texts, sorted(str(path.relative_to(home)) for path in home.rglob("*")))

    def unnoticed(self, *command, preload=str(LIBRARY), wanted=0, **variables):
        """Asserts that the library changes nothing and the command did what the test wants; its stdout."""
        with tempfile.TemporaryDirectory() as flight:
            variables["COMFYDD_FLIGHT_FOLDER"] = flight
            bare = self.run("bare", command, None, **variables)
            assert bare[0] == wanted, bare
            assert self.run("preloaded", command, preload, **variables) == bare
            assert os.listdir(flight) == []
        return bare[1]


@pytest.fixture
def child(tmp_path):
    assert LIBRARY.is_file(), "make all builds the library"
    return Child(tmp_path)


# ---- programs of any libc ----


def test_the_library_is_in_the_children(child):
    """Without this the other tests could pass with a preload that was never loaded."""
    assert str(LIBRARY) in child.run("maps", ["cat", "/proc/self/maps"], str(LIBRARY))[1]


@pytest.mark.parametrize("libc", ["glibc", "musl", "static", "musl-static"])
@pytest.mark.parametrize("code", [0, 7])
def test_a_program(child, probes, libc, code):
    """On musl every name of ours must be found (datadog-agent issue 22575, dd-trace-php issue 312)."""
    assert child.unnoticed(probes[libc], code, wanted=code).startswith("threads 1, ")


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
@pytest.mark.parametrize("variables", [{}, {"LD_BIND_NOW": "1"}], ids=["lazily", "at once"])
def test_a_program_that_looks_functions_up(child, compiler, variables):
    program = compiled(f"lookup-{compiler}", compiler, HERE / "child_lookup.c")
    assert child.unnoticed(program, **variables) == "1 1 0 error 0\n"


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
@pytest.mark.parametrize("variables", [{}, {"LD_BIND_NOW": "1"}], ids=["lazily", "at once"])
def test_a_program_with_its_own_way_to_walk_over_libraries(child, compiler, variables):
    """Its dl_iterate_phdr asks dlsym, and ours must not be looking for dlsym that way (it called itself for ever)."""
    program = compiled(f"walk-{compiler}", compiler, "-rdynamic", HERE / "child_walk.c")
    assert child.unnoticed(program, **variables) == "libraries\n"


def test_beside_a_library_with_its_own_way_to_walk_over_libraries(child, probes):
    other = compiled("libwalk.so", "gcc", "-shared", "-fPIC", HERE / "child_walk.c")
    for preload in (f"{LIBRARY}:{other}", f"{other}:{LIBRARY}"):
        child.unnoticed(probes["glibc"], preload=preload)
        child.unnoticed(sys.executable, "-c", PYTHON_PROBE, preload=preload)


def test_a_setuid_program(child, probes, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a program away")
    secure = tmp_path / "probe-setuid"
    shutil.copy(probes["glibc"], secure)
    os.chown(secure, 65534, 65534)
    secure.chmod(0o4755)
    assert "secure 1" in child.unnoticed(secure)


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize(
    "script",
    [
        "echo out; echo err >&2; exit 3",
        "for i in 1 2 3; do (echo $i | cat; exit $i); done; wait; exit 3",
        "ls /proc/self/task | wc -l; ls /proc/self/fd | wc -l; exit 3",
        "exec 2>&-; ls /nowhere; exit 3",
        "echo text >file; cat file; exit 3",
    ],
    ids=["output", "pipes", "descriptors", "no-stderr", "file"],
)
def test_a_shell(child, shell, script):
    child.unnoticed(shell, "-c", script, wanted=3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL])
def test_death_by_signal(child, number):
    child.unnoticed("bash", "-c", f"kill -{int(number)} $$", wanted=-number)


def test_git(child):
    variables = {f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    script = """set -e
    git init -q . && git config user.name a && git config user.email a@example.org
    git commit -q --allow-empty -m first && git log --format='%H %s'
    rm -rf .git"""
    assert child.unnoticed("bash", "-c", script, **variables).endswith(" first\n")


# ---- ways to preload ----

PYTHON_PROBE = """
import os, sys, signal, threading, time
# a joined thread's task may outlive the join by a moment
deadline = time.time() + 5
while len(os.listdir('/proc/self/task')) > 1 and time.time() < deadline: pass
print((len(os.listdir('/proc/self/task')), len(os.listdir('/proc/self/fd')), threading.active_count()))
print([n for n in range(1, 32) if signal.getsignal(n) not in (signal.SIG_DFL, signal.SIG_IGN)])
print((sys.getrecursionlimit(), sys.getprofile(), sys.gettrace(), sorted(sys.modules)))
if hasattr(sys, 'monitoring'):
    print([sys.monitoring.get_tool(number) for number in range(6)])
"""


@pytest.mark.parametrize("libc", ["glibc", "musl", "static", "python"])
def test_every_name_bound_at_start(child, probes, libc):
    command = [sys.executable, "-c", PYTHON_PROBE] if libc == "python" else [probes[libc]]
    child.unnoticed(*command, LD_BIND_NOW="1")


def test_an_emptied_environment(child, probes):
    child.unnoticed("env", "-i", probes["glibc"])
    child.unnoticed("env", "-i", sys.executable, "-c", PYTHON_PROBE)


@pytest.mark.parametrize("value", ["false", "perhaps"])
def test_switched_off_or_misconfigured(child, probes, value):
    variables = {"COMFYDD_ENABLED": value, "DD_TRACE_AGENT_PORT": "none"}
    child.unnoticed(probes["glibc"], **variables)
    child.unnoticed(sys.executable, "-c", PYTHON_PROBE, **variables)


def test_a_program_with_the_address_sanitizer(child):
    program = compiled("probe-asan", "gcc", "-fsanitize=address", HERE / "child_probe.c")
    child.unnoticed(program, ASAN_OPTIONS="verify_asan_link_order=0")


@pytest.mark.parametrize("way", ["same file", "a copy"])
def test_preloaded_twice(child, probes, tmp_path, way):
    second = LIBRARY
    if way == "a copy":
        second = shutil.copy(LIBRARY, tmp_path / "copy.so")
    for command in ([probes["glibc"]], [probes["musl"]], [sys.executable, "-c", PYTHON_PROBE]):
        child.unnoticed(*command, preload=f"{LIBRARY}:{second}")


def test_beside_jemalloc(child, probes):
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    found = re.search(r"libjemalloc\.so\.2 .*=> (\S+)", listed)
    if not found:
        pytest.skip("no jemalloc here")
    for preload in (f"{LIBRARY}:{found[1]}", f"{found[1]}:{LIBRARY}"):  # jemalloc issues 329, 443
        child.unnoticed(probes["glibc"], preload=preload)
        child.unnoticed(sys.executable, "-c", PYTHON_PROBE, preload=preload)


# ---- CPython ----

PYTHON_CHILDREN = {
    "pass": ("pass", 0),
    "probe": (PYTHON_PROBE, 0),
    "exit": ("import sys; sys.exit(3)", 3),
    "hard-exit": ("import os; os._exit(4)", 4),
    "uncaught": ("raise ValueError('told')", 1),
    "killed": ("import os; os.kill(os.getpid(), 9)", -9),
    "atexit": ("import atexit, sys; atexit.register(sys.stdout.write, 'bye')", 0),
    "missing-file": ("try: open('/nowhere')\nexcept EnvironmentError as error: print(error.errno)", 0),
    "null-path": (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.open64(None, 0), ctypes.get_errno(), libc.execv(None, None), ctypes.get_errno())",
        0,
    ),
    "fork": (
        "import os, sys\n"
        "pid = os.fork()\n"
        "if pid: sys.exit(os.waitpid(pid, 0)[1] >> 8)\n" + PYTHON_PROBE + "sys.stdout.flush(); os._exit(5)",
        5,
    ),
    "subprocess": ("import subprocess; print(subprocess.check_output(['sh', '-c', 'ls /proc/self/fd']))", 0),
    "exec": ("import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'print(6 * 7)'])", 0),
    "threads": (
        "import threading\n"
        "threads = [threading.Thread(target=open, args=('/dev/null',)) for _ in range(8)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n" + PYTHON_PROBE,
        0,
    ),
    "spawn": (
        "import multiprocessing, os, sys\n"
        "if sys.version_info >= (3, 8):\n"
        "    print(os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 6'], os.environ), 0)[1])\n"
        "if __name__ == '__main__' and sys.version_info >= (3,):\n"
        "    for way in ('fork', 'spawn', 'forkserver'):\n"
        "        with multiprocessing.get_context(way).Pool(1) as pool: print(pool.map(abs, [-1, -2]))\n",
        0,
    ),
}


@every_python
@pytest.mark.parametrize("name", PYTHON_CHILDREN)
def test_a_python(child, python, name):
    source, code = PYTHON_CHILDREN[name]
    child.unnoticed(python, "-W", "ignore", "-c", source, wanted=code)


@every_python
def test_an_isolated_python(child, python):
    child.unnoticed(python, "-E", "-S", "-c", "import sys; print(sorted(sys.modules))")


# ---- system calls and memory ----

# Left out of the comparison: how often the loader maps a file and the allocator memory depends on sizes; a
# futex without anyone waiting is what pthread_once ends with.
NEUTRAL_CALLS = {"mmap", "munmap", "mprotect", "brk", "read", "pread64", "newfstatat", "fstat", "futex"}
PATH_CALLS = {"open", "openat", "execve", "access", "readlink", "unlink", "mkdir", "memfd_create"}


def system_calls(folder, preload, command):
    """The calls of each process, with their paths, in order."""
    log = folder / "strace"
    subprocess.run(
        ["strace", "-f", "-o", log, "-E", f"LD_PRELOAD={preload}", "-E", f"HOME={folder}", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=DEADLINE,
    )
    processes = {}
    for line in log.read_text().splitlines():
        match = re.match(r'(\d+) +(\w+)\((?:[^"]*"([^"]*)")?', line)
        if match and match[2] not in NEUTRAL_CALLS:
            path = match[3] if match[2] in PATH_CALLS else None
            calls = processes.setdefault(match[1], [])
            calls.append((match[2], "PRELOAD" if path == str(preload) else path))
    return list(processes.values())


@pytest.mark.parametrize("program", ["true", "bash", "git", "musl", "python"])
def test_no_system_call_is_added(tmp_path, empty_library, probes, program):
    command = {
        "true": ["/bin/true"],
        "bash": ["bash", "-c", "echo $((6 * 7)); /bin/true; exit 0"],
        "git": ["git", "--version"],
        "musl": [probes["musl"]],
        "python": [sys.executable, "-c", "pass"],
    }[program]
    wanted = system_calls(tmp_path, empty_library, command)
    assert {("openat", "PRELOAD"), ("open", "PRELOAD")} & set(wanted[0])
    assert system_calls(tmp_path, LIBRARY, command) == wanted


@every_python
def test_valgrind_finds_nothing_of_ours(tmp_path, python):
    report = tmp_path / "valgrind.xml"
    subprocess.run(
        ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite", "--xml=yes"]
        + [f"--xml-file={report}", python, "-c", "import json; open('/dev/null').close()"],
        env={"PATH": os.environ["PATH"], "LD_PRELOAD": str(LIBRARY), "PYTHONMALLOC": "malloc"},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=DEADLINE,
    )
    errors = [
        xml.etree.ElementTree.tostring(error, "unicode")
        for error in xml.etree.ElementTree.parse(report).iter("error")
    ]
    assert not [error for error in errors if LIBRARY.name in error]
