"""Finding the executor, whatever way it is loaded, on every Python of this machine; and leaving everything else alone."""

import json
import pathlib
import shutil
import subprocess

import pytest
from programs import HERE, LIBRARY, run
from rig import pythons

pytestmark = pytest.mark.timeout(300)

PYTHONS = pythons.find()
every_python = pytest.mark.parametrize("version", PYTHONS)
WITHOUT_LOAD_MODULE = ["3.15"]


class Project:
    """A folder with an executor, execution.py, and a program that loads it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copy(HERE / "see.py", folder)
        self.write("execution.py", (HERE / "tiny_execution.py").read_text())

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def package(self, *names):
        """A package PKG.SUB... with an executor in it."""
        folder = self.folder
        for name in names:
            folder = folder / name
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (self.folder / "execution.py").rename(folder / "execution.py")

    def run(self, version, *arguments, preload=LIBRARY, **variables):
        """What the program prints as JSON; it writes nothing else, but for the library's lines (self.log)."""
        if preload:
            variables["LD_PRELOAD"] = preload
        out, err = run([PYTHONS[version], *arguments], cwd=self.folder, **variables)
        self.log = err.splitlines()
        assert all(line.startswith("comfydd: ") for line in self.log), err
        return json.loads(out)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


SHOW = "\nimport json, see\nprint(json.dumps(see.is_watched(execution)))\n"

# ---- ways to load it by name

IMPORTS = {
    "import": "import execution",
    "import_module": "import importlib; execution = importlib.import_module('execution')",
    "__import__": "execution = __import__('execution')",
    "from": "from execution import PromptExecutor, execute; import sys; execution = sys.modules['execution']",
    "reload": "import execution, importlib; importlib.reload(execution)",
    "reload-twice": "import execution, importlib; [importlib.reload(execution) for _ in range(2)]",
    "again": "import execution, sys; del sys.modules['execution']; import execution",
    "thread": "import threading, importlib\n"
    "thread = threading.Thread(target=importlib.import_module, args=('execution',)); thread.start(); thread.join()\n"
    "import execution",
    "find_spec-first": "import importlib.util; importlib.util.find_spec('execution'); import execution",
    "by-its-spec": "import importlib.util, sys\n"
    "spec = importlib.util.find_spec('execution')\n"
    "execution = sys.modules['execution'] = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(execution)",
    "load_module": "import importlib.util, warnings; warnings.simplefilter('ignore')\n"
    "execution = importlib.util.find_spec('execution').loader.load_module('execution')",
}


@every_python
@pytest.mark.parametrize("way", IMPORTS)
def test_imported(project, version, way):
    if way == "load_module" and version in WITHOUT_LOAD_MODULE:
        pytest.skip("this Python has no load_module any more")
    assert project.run(version, "-c", IMPORTS[way] + SHOW) is True


MAIN = "import execution" + SHOW
STARTS = {
    "script": (["main.py"], MAIN),
    "module": (["-m", "main"], MAIN),
    "optimised": (["-OO", "main.py"], MAIN),
    "warnings-are-errors": (["-W", "error", "main.py"], MAIN),
    "development-mode": (["-X", "dev", "main.py"], MAIN),
    "isolated": (["-I", "-S", "main.py"], "import sys; sys.path.insert(0, '.')\n" + MAIN),
    "without-site": (["-S", "-E", "main.py"], MAIN),
    "without-site-command": (["-S", "-E", "-c", "import main"], MAIN),
    "standard-input": (["-c", "exec(open('main.py').read())"], MAIN),
    "run_path": (["-c", "import runpy; runpy.run_path('main.py')"], MAIN),
    "run_module": (["-c", "import runpy; runpy.run_module('main', run_name='__main__')"], MAIN),
    "folder": (["."], MAIN),
}


@every_python
@pytest.mark.parametrize("start", STARTS)
def test_started_as(project, version, start):
    arguments, main = STARTS[start]
    project.write("__main__.py" if start == "folder" else "main.py", main)
    assert project.run(version, *arguments) is True


@every_python
def test_in_a_package(project, version):
    project.package("comfy", "cmd")
    assert project.run(version, "-c", "from comfy.cmd import execution" + SHOW) is True


@every_python
def test_compiled_earlier(project, version):
    for _ in range(2):
        assert project.run(version, "-c", MAIN, PYTHONDONTWRITEBYTECODE="") is True
    assert list((project.folder / "__pycache__").glob("execution.*.pyc"))


@every_python
def test_without_source(project, version):
    compiling = "import py_compile, json; print(json.dumps(py_compile.compile('execution.py', 'execution.pyc')))"
    project.run(version, "-c", compiling, preload=None)
    (project.folder / "execution.py").unlink()
    assert project.run(version, "-c", "import see\n" + MAIN) is True


@every_python
def test_in_an_archive(project, version):
    shutil.make_archive(project.folder / "archive", "zip", project.folder, "execution.py")
    (project.folder / "execution.py").unlink()
    found = project.run(version, "-c", "import see, sys; sys.path.insert(0, 'archive.zip')\n" + MAIN)
    assert found == (version != "3.9")  # whose zipimport has only load_module


@every_python
def test_after_an_import_that_failed(project, version):
    project.write("execution.py", "import sys\nif not hasattr(sys, 'again'): raise ImportError\n"
                  + (project.folder / "execution.py").read_text())
    retry = "import sys\ntry: import execution\nexcept ImportError: sys.again = True\n"
    assert project.run(version, "-c", retry + MAIN) is True


@every_python
def test_in_a_circle_of_imports(project, version):
    project.write("nodes.py", "import execution\n")
    project.write("execution.py", "import nodes\n" + (project.folder / "execution.py").read_text())
    assert project.run(version, "-c", MAIN) is True


@every_python
def test_two_executors_in_one_process(project, version):
    shutil.copytree(project.folder, project.folder / "other")
    both = "import other.execution as second, execution, see, json\n"
    assert project.run(
        version, "-c", both + "print(json.dumps([see.is_watched(execution), see.is_watched(second)]))") == [True, True]


# ---- past all finders

BY_HAND = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(NAME, "execution.py")
execution = importlib.util.module_from_spec(spec)
"""
LOADED_BY_HAND = {
    "registered": "sys.modules[NAME] = execution; spec.loader.exec_module(execution)",
    "not-registered": "spec.loader.exec_module(execution)",
    "registered-later": "spec.loader.exec_module(execution); sys.modules[NAME] = execution",
    "in-a-thread": "import threading\n"
    "thread = threading.Thread(target=spec.loader.exec_module, args=(execution,)); thread.start(); thread.join()",
    "after-one-that-failed": "open('execution.py', 'a').write('1/0')\n"
    "try: spec.loader.exec_module(execution)\nexcept ZeroDivisionError: pass\n"
    "text = open('execution.py').read(); open('execution.py', 'w').write(text[:-3])\n"
    "spec.loader.exec_module(execution)",
    "twice": "spec.loader.exec_module(execution)\n" + BY_HAND.replace("import ", "import see, ", 1)
    + "spec.loader.exec_module(execution)",
    "that-imports-another": "text = open('execution.py').read(); open('execution.py', 'w').write('import helper\\n' + text)\n"
    "open('helper.py', 'w').close(); spec.loader.exec_module(execution)",
    "from-inside-an-import": "open('loading.py', 'w').write('from __main__ import *; spec.loader.exec_module(execution)')\n"
    "import loading",
}


@every_python
@pytest.mark.parametrize("name", ["execution", "backend_7"])
@pytest.mark.parametrize("way", LOADED_BY_HAND)
def test_loaded_by_hand(project, version, way, name):
    program = f"NAME = {name!r}" + BY_HAND + LOADED_BY_HAND[way] + SHOW
    for _ in range(2):  # from source, then as compiled
        assert project.run(version, "-c", program, PYTHONDONTWRITEBYTECODE="") is True


@pytest.mark.parametrize("version", [name for name in PYTHONS if name != "3.12"])  # which does not tell the two ends apart
def test_one_that_cannot_be_loaded_by_hand_is_left_alone(project, version):
    project.write("execution.py", (project.folder / "execution.py").read_text() + "1/0\n")
    program = "NAME = 'execution'" + BY_HAND + "try: spec.loader.exec_module(execution)\nexcept ZeroDivisionError: pass\n"
    assert project.run(version, "-c", program + SHOW) is False and project.log == []


PROFILED = """
import json, see, sys, threading
NAME = "execution"
events = []
def profile(frame, event, argument):
    if frame.f_code.co_filename.endswith("execution.py") and not event.startswith("c_"):
        events.append((frame.f_code.co_name, event))
%s
def load():
""" + BY_HAND.replace("\n", "\n    ").rstrip() + """
    spec.loader.exec_module(execution)
    return execution
%s
execution.execute(None, {1: list}, {}, 1, {}, set(), "", [])
%s
print(json.dumps([events, after is None]))
"""
PROFILERS = {
    "sys.setprofile": ("sys.setprofile(profile)", "execution = load()", "after = sys.getprofile(); sys.setprofile(None)\n"
                       "after = None if after is profile else after"),
    "cProfile": ("import cProfile, pstats; profiler = cProfile.Profile()", "execution = profiler.runcall(load)",
                 "events = sorted(name for _, _, name in pstats.Stats(profiler).stats if 'load' in name or 'module' in name)\n"
                 "after = sys.getprofile()"),
    "set-while-loading": ("import builtins; builtins.profile = profile\n"
                          "open('execution.py', 'a').write('import sys; sys.setprofile(profile)\\n')",
                          "execution = load()", "after = sys.getprofile(); sys.setprofile(None)\n"
                          "after = None if after is profile else after"),
    "cleared-while-loading": ("open('execution.py', 'a').write('import sys; sys.setprofile(None)\\n')",
                              "execution = load()", "after = sys.getprofile()"),
    "none": ("", "execution = load()", "after = sys.getprofile()"),
}


@every_python
@pytest.mark.parametrize("profiler", PROFILERS)
def test_a_profiler_sees_a_module_loaded_by_hand_as_without_us(project, version, profiler):
    program = PROFILED % PROFILERS[profiler]
    source = (project.folder / "execution.py").read_text()
    bare = project.run(version, "-c", program, preload=None)
    project.write("execution.py", source)
    assert project.run(version, "-c", program) == bare and bare[1]


@every_python
def test_after_a_profiler_took_the_place_of_ours(project, version):
    """The end of the first module's loading was never seen."""
    project.write("first/execution.py", "import sys; sys.setprofile(None)\n")
    program = (f"NAME = 'execution'" + BY_HAND.replace('"execution.py"', '"first/execution.py"')
               + "spec.loader.exec_module(execution)" + BY_HAND + "spec.loader.exec_module(execution)")
    assert project.run(version, "-c", program + SHOW) is True


# ---- by another program than python


EMBEDDING = r"""
#include <Python.h>

int main(int count, char **arguments) {
    int result = 0;
    for (int i = 1; i < count && !result; i++) {
        Py_Initialize();
        result = PyRun_SimpleString(arguments[i]);
        Py_Finalize();
    }
    return result;
}
"""


@pytest.fixture
def embed(project):
    """Builds and runs a program that interprets its arguments, each with an interpreter of its own."""

    def run_embedded(version, *programs, preload=LIBRARY):
        project.write("embed.c", EMBEDDING)
        folders = ("import json, sys, sysconfig as s; "
                   "print(json.dumps([s.get_path('include'), s.get_config_var('LIBDIR'), sys.base_prefix]))")
        include, libraries, home = project.run(version, "-c", folders, preload=None)
        if not pathlib.Path(include, "Python.h").exists():
            pytest.skip("no headers for this Python")
        subprocess.run(["cc", "-o", "embed", "embed.c", "-I", include, "-L", libraries, f"-lpython{version}",
                        f"-Wl,-rpath,{libraries}"], cwd=project.folder, check=True, timeout=60)
        out, err = run(["./embed", *programs], cwd=project.folder, PYTHONPATH=".", PYTHONHOME=home,
                       **({"LD_PRELOAD": preload} if preload else {}))
        return [json.loads(line) for line in out.splitlines()], err

    return run_embedded


@every_python
def test_embedded(embed, version):
    assert embed(version, MAIN)[0] == [True]


@every_python
def test_embedded_and_started_again(embed, version):
    """Nothing of the first interpreter may be touched. The second one's executor is not traced."""
    use = "\nexecution.PromptExecutor().execute({'1': list, '2': dict}, 'prompt', {})\n"
    hand = "NAME = 'x'" + BY_HAND + "spec.loader.exec_module(execution)" + use
    shown, err = embed(version, MAIN + use + hand, MAIN + use + hand, MAIN + use + hand)
    assert shown[0] is True and len(shown) == 3


# ---- where nothing may happen

ANOTHER = '''
"""An execution.py of another project."""
import asyncio

class Executor:
    def execute(self, prompt, prompt_id, extra_data): return prompt

def execute(server, current_item, extra_data): return current_item

async def recursive_execute(server, prompt): return prompt
'''
STATE = """
import sys, execution, json, marshal, hashlib
def digest(module):
    functions = [value for owner in (module, *(c for c in vars(module).values() if isinstance(c, type)))
                 for value in vars(owner).values() if hasattr(value, "__code__")]
    return [(f.__name__, hashlib.sha1(marshal.dumps(f.__code__)).hexdigest()) for f in functions]
print(json.dumps([
    digest(execution), len(sys.meta_path), sorted(sys.modules), vars(execution.__loader__),
    execution.__spec__.name, execution.__spec__.origin, type(execution.__spec__.loader).__name__,
    execution.__spec__.loader is execution.__loader__, sys.getprofile(), sys.getrecursionlimit()]))
"""


@every_python
@pytest.mark.parametrize("way", ["import", "by-hand"])
def test_another_projects_execution_stays_as_it_is(project, version, way):
    project.write("execution.py", ANOTHER)
    load = "import sys\n" if way == "import" else "NAME = 'execution'" + BY_HAND + LOADED_BY_HAND["registered"]
    bare = project.run(version, "-c", load + STATE, preload=None)
    preloaded = project.run(version, "-c", load + STATE)
    assert preloaded.pop(1) == bare.pop(1) + 1  # the finder
    assert preloaded == bare and project.log == []


@every_python
def test_switched_off_it_touches_nothing(project, version):
    bare = project.run(version, "-c", STATE, preload=None)
    assert project.run(version, "-c", STATE, COMFYDD_ENABLED="false") == bare and project.log == []
    assert project.run(version, "-c", STATE, DD_TRACE_ENABLED="false") == bare and project.log == []
    assert project.run(version, "-c", MAIN) is True


@every_python
def test_a_second_copy_does_nothing(project, version):
    second = shutil.copy(LIBRARY, project.folder / "copy.so")
    program = """
import ctypes, execution, json, see, sys
finders = sum(type(finder).__name__ == "SimpleNamespace" for finder in sys.meta_path)
started = [ctypes.PyDLL(path).comfydd_start() for path in PATHS]
stubs = sum(type(c) is type(len) for c in execution.PromptExecutor.execute.__code__.co_consts)
print(json.dumps([see.is_watched(execution), finders, stubs, started]))
"""
    preloaded = f"PATHS = [None, './copy.so', {str(LIBRARY)!r}]\n" + program
    for preload in (LIBRARY, f"{LIBRARY}:{second}"):
        assert project.run(version, "-c", preloaded, preload=preload) == [True, 1, 1, [1, 0, 1]]


@every_python
def test_loaded_late_it_finds_what_is_there(project, version):
    load = f"import ctypes; library = ctypes.PyDLL({str(LIBRARY)!r}); assert library.comfydd_start() == 1\n"
    for program in ("import execution\n" + load, load + "import execution\n", load + load + "import execution\n",
                    "import sys; sys.modules['execution'] = None; import json\n" + load
                    + "del sys.modules['execution']; import execution"):
        assert project.run(version, "-c", program + SHOW, preload=None) is True


SUB_INTERPRETER = """
import importlib, json, sys, os
try: import _xxsubinterpreters as interpreters
except ImportError: import _interpreters as interpreters
PROGRAM = '''
import sys, os
%s
import see
os.write(1, b"true" if see.is_watched(execution) or type(sys.meta_path[0]).__name__ == "SimpleNamespace" else b"false")
'''
interpreter = interpreters.create()
failed = interpreters.run_string(interpreter, "import sys; sys.path.insert(0, '.')\\n" + PROGRAM)
assert not failed, failed
interpreters.destroy(interpreter)
"""


@every_python
@pytest.mark.parametrize("way", ["import", "by-hand"])
def test_in_a_sub_interpreter_nothing_happens(project, version, way):
    load = "import execution" if way == "import" else (
        "NAME = 'execution'" + BY_HAND + LOADED_BY_HAND["registered"])
    assert project.run(version, "-c", SUB_INTERPRETER % load) is False and project.log == []


# ---- finders and loaders of others

FINDERS = """
import importlib, importlib.abc, importlib.machinery, importlib.util, json, sys, threading
SOURCE = open("execution.py").read()

class Loader(importlib.abc.Loader):
    def create_module(self, spec): return None
    def exec_module(self, module): exec(SOURCE, vars(module))

class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, loader): self.loader, self.asked = loader, []
    def find_spec(self, name, path=None, target=None):
        self.asked.append(name)
        if name == "execution":
            return importlib.machinery.ModuleSpec(name, self.loader, origin="somewhere")

# Where the finder of the library is; others have come before it, and will.
OURS = next(i for i, finder in enumerate(sys.meta_path) if type(finder).__name__ == "SimpleNamespace")
"""
# How each is made, and whether its module is found.
LOADERS = {
    "instance": ("loader = Loader()", True),
    "class": (  # as BuiltinImporter and FrozenImporter are: all modules share it
        "class Shared:\n"
        "    @staticmethod\n"
        "    def create_module(spec): return None\n"
        "    @staticmethod\n"
        "    def exec_module(module): exec(SOURCE, vars(module))\n"
        "loader = Shared", False),
    "slots": (
        "class Slim:\n"
        "    __slots__ = ()\n"
        "    create_module = Loader.create_module\n"
        "    exec_module = Loader.exec_module\n"
        "loader = Slim()", False),
    "load_module": (  # the protocol before 3.4
        "class Old:\n"
        "    def load_module(self, name):\n"
        "        module = sys.modules[name] = type(sys)(name)\n"
        "        exec(SOURCE, vars(module))\n"
        "        return module\n"
        "loader = Old()", False),
    "proxy": (  # whose attributes live elsewhere
        "class Proxy:\n"
        "    def __init__(self, inner): vars(self)['inner'] = inner\n"
        "    def __getattr__(self, name): return getattr(self.inner, name)\n"
        "    def __setattr__(self, name, value): setattr(self.inner, name, value)\n"
        "loader = Proxy(Loader())", True),
    "refusing": (
        "class Refusing(Loader):\n"
        "    def __setattr__(self, name, value): raise TypeError('read-only')\n"
        "loader = Refusing()", True),
}


@every_python
@pytest.mark.parametrize("loader", LOADERS)
def test_a_loader_of_another_kind_works_as_before(project, version, loader):
    if loader == "load_module" and version in WITHOUT_LOAD_MODULE:
        pytest.skip("this Python has no load_module any more")
    make, recognised = LOADERS[loader]
    program = FINDERS + make + """
before = sorted(vars(loader)) if hasattr(loader, "__dict__") else None
sys.meta_path.insert(OURS + 1, Finder(loader))
import execution
result = execution.PromptExecutor().execute({"1": list, "2": dict}, "prompt")
assert execution.__spec__.loader is loader and execution.__loader__ is loader
assert before is None or sorted(vars(loader)) == before
import see
print(json.dumps([sorted(result), see.is_watched(execution)]))
"""
    assert project.run(version, "-W", "ignore", "-c", program) == [["1", "2"], recognised]


@every_python
def test_a_finder_before_ours_that_answers_itself(project, version):
    """As those of import hooks do (typeguard, pytest): ours is not asked, but the file is seen."""
    program = FINDERS + """
class Hook(importlib.abc.MetaPathFinder):
    find_spec = staticmethod(importlib.machinery.PathFinder.find_spec)
sys.meta_path.insert(OURS, Hook())
import execution, see
print(json.dumps(see.is_watched(execution)))
"""
    assert project.run(version, "-c", program) is True


@every_python
@pytest.mark.parametrize("site", ["before", "after"])
def test_a_finder_that_asks_all_others_too(project, version, site):
    """As ours does: they must not ask each other for ever."""
    program = FINDERS + """
class Asking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        for finder in sys.meta_path:
            spec = finder is not self and finder.find_spec(name, path, target)
            if spec:
                return spec
sys.meta_path.insert(SITE, Asking())
import execution, see
print(json.dumps(see.is_watched(execution)))
"""
    program = program.replace("SITE", {"before": "OURS", "after": "OURS + 1"}[site])
    assert project.run(version, "-c", program) is True


@every_python
def test_a_finder_that_raises_is_heard(project, version):
    program = FINDERS + """
class Raising(Finder):
    def find_spec(self, name, path=None, target=None): raise OSError(name)
sys.meta_path.insert(OURS + 1, Raising(None))
try: import execution
except OSError as error: print(json.dumps(str(error)))
"""
    assert project.run(version, "-c", program) == "execution"


@every_python
def test_a_module_that_is_not_there_is_missed_as_before(project, version):
    (project.folder / "execution.py").unlink()
    program = """
import importlib.util, json, sys
texts = []
for name in ("execution", "json.execution", "nowhere.execution"):
    try: __import__(name)
    except ImportError as error: texts.append([type(error).__name__, str(error), error.name])
print(json.dumps([texts, importlib.util.find_spec("execution")]))
"""
    assert project.run(version, "-c", program) == project.run(version, "-c", program, preload=None)


@every_python
def test_imports_at_the_same_time_skip_no_finder(project, version):
    """While one thread walks sys.meta_path, another one imports the executor: were our finder to go away then, the first
    thread would pass over the finder behind ours."""
    program = FINDERS + """
class Serving(Finder):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Loader()) if name == "page" else None

class Walked(list):
    def __iter__(self):
        index = 0
        while index < len(self):
            yield self[index]
            index += 1
            if threading.current_thread() is walker and index == OURS + 1:
                reached.set()
                assert go_on.wait(30)

reached, go_on, found = threading.Event(), threading.Event(), []
sys.meta_path.insert(OURS + 1, Serving(None))
sys.meta_path = Walked(sys.meta_path)
before = sys.meta_path[:]
walker = threading.Thread(target=lambda: found.append(importlib.import_module("page")))
walker.start()
assert reached.wait(30)
import execution, see
go_on.set()
walker.join()
print(json.dumps([len(found), sys.meta_path[:] == before, see.is_watched(execution)]))
"""
    assert project.run(version, "-c", program) == [1, True, True]


@every_python
def test_executors_loaded_on_many_threads_are_all_found(project, version):
    for number in range(8):
        shutil.copytree(project.folder, project.folder.parent / "copies" / f"p{number}", dirs_exist_ok=True)
    program = """
import importlib, json, sys, threading
sys.path.insert(0, "../copies")
sys.setswitchinterval(1e-6)
names = ["p%d.execution" % n for n in range(8)]
barrier = threading.Barrier(len(names))
def load(name):
    barrier.wait(30)
    importlib.import_module(name)
threads = [threading.Thread(target=load, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
import see
print(json.dumps([see.is_watched(sys.modules[name]) for name in names]))
"""
    assert project.run(version, "-c", program) == [True] * 8
