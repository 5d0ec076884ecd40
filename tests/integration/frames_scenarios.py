"""What src/python/frames.h promises: a captured stack is the one that Python sees, file, function and line of each frame."""

import asyncio
import ctypes
import gc
import os
import sys
import tempfile
import threading
import traceback
import unicodedata

import framed
from framed import CALLBACK, HELD, PROBE, frames_of, held, namespace, released, same, settled, stack, start
from scenarios import run_all, scenario


def nested(depth):
    if depth:
        return nested(depth - 1)
    same(stack(), released(), held())
    return None


def run(source, file):
    names = namespace()
    exec(compile(source, file, "exec"), names)
    return names


# ---- frames of all kinds


@scenario
def nested_calls():
    for depth in range(60):
        nested(depth)
    list(map(nested, range(5)))
    [nested(depth) for depth in range(5)]
    settled(140)


@scenario
def what_the_traceback_module_says():
    expected, captured = traceback.extract_stack(), released()
    rows = [(frame.filename, frame.name, frame.lineno) for frame in reversed(expected)]
    assert [(file, name.rsplit(".", 1)[-1], line) for file, name, line in frames_of(captured)] == rows


@scenario
def loops_exceptions_and_lambdas():
    for _ in range(2):
        same(stack(), released(), held())
        try:
            same(stack(), released(), held())
            raise ValueError
        except ValueError:
            same(stack(), released(), held())
        finally:
            same(stack(), released(), held())
        with open(os.devnull) as _:
            same(stack(), released(), held())
    (lambda: same(stack(), released(), held()))()
    settled(18)


@scenario
def classes():
    class Class:
        same(stack(), released(), held())

        def __init__(self):
            same(stack(), released(), held())

        def __getattr__(self, name):
            same(stack(), released(), held())
            return name

        def __lt__(self, other):
            same(stack(), released(), held())
            return True

        def __del__(self):
            same(stack(), released(), held())

        @property
        def value(self):
            same(stack(), released(), held())

    one = Class()
    one.absent, one.value
    sorted([Class(), Class()])
    del one
    gc.collect()
    settled(18)


@scenario
def frames_that_are_being_left():
    class Local:
        def __init__(self, itself=None):
            self.itself = itself

        def __del__(self):
            same(stack(), released(), held())

    def leave(*locals):
        one = Local(Local())
        return None

    def fail():
        one = Local()
        raise ValueError

    def stop():
        one = Local()
        yield 1

    leave(Local())
    try:
        fail()
    except ValueError:
        pass
    list(stop())
    next(stop())
    settled(12)


@scenario
def generators():
    def simple():
        same(stack(), released(), held())
        yield 1
        same(stack(), released(), held())
        yield 2

    def delegating():
        yield from simple()
        sent = yield
        same(stack(), released(), held())
        yield sent

    generator = delegating()
    for _ in range(3):
        next(generator)
    generator.send(1)
    list(simple())
    sum(number for number in simple())
    settled(14)


@scenario
def coroutines():
    async def numbers():
        same(stack(), released(), held())
        yield 1
        await asyncio.sleep(0)
        same(stack(), released(), held())
        yield 2

    async def leaf():
        same(stack(), released(), held())
        await asyncio.sleep(0)
        same(stack(), released(), held())
        async for _ in numbers():
            same(stack(), released(), held())

    async def branch():
        await leaf()

    async def main():
        await asyncio.gather(*[asyncio.create_task(branch()) for _ in range(20)])
        await asyncio.get_running_loop().run_in_executor(None, nested, 3)

    asyncio.run(main())
    settled(200)


@scenario
def callbacks_from_c():
    def from_c():
        same(stack(), released(), held())
        return 7

    assert PROBE.probe_call(CALLBACK(from_c)) == 7
    settled(2)


@scenario
def recursion_is_cut_at_the_innermost_frames():
    deep = 5000 if sys.version_info >= (3, 11) else 900
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)
    nested(deep)
    sys.setrecursionlimit(limit)
    settled(2)


@scenario
def tracing_and_profiling():
    def trace(frame, event, argument):
        return trace

    sys.settrace(trace)
    nested(3)
    classes()
    sys.settrace(None)
    sys.setprofile(lambda *_: None)
    nested(3)
    sys.setprofile(None)
    if sys.version_info >= (3, 12):
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(3, "frames")
        sys.monitoring.register_callback(3, events.INSTRUCTION, lambda *_: None)
        sys.monitoring.set_events(3, events.INSTRUCTION | events.LINE)
        nested(3)
        sys.monitoring.set_events(3, 0)
        sys.monitoring.free_tool_id(3)
    nested(3)
    settled(4)


# ---- lines and names


@scenario
def calls_of_several_lines():
    captured = [
        stack(),
        frames_of(released()),
        frames_of(held()),
        stack(),
    ]
    first = captured[0][0][2]
    assert [frames[0][2] for frames in captured] == [first, first + 1, first + 2, first + 3]
    steps = "".join("    n += %d\n" % number for number in range(300))
    far = "\n" * 1000 + "def far(n=0):\n" + steps + "\n" * 400 + "    same(stack(), released(), held())\n"
    run(far, "far.py")["far"]()
    settled(2)


@scenario
def every_place_of_a_long_function():
    for size in range(300):
        padding = "".join("    x%d = (%d,\n     %d)\n" % (number, number, number) for number in range(size))
        run("def moving():\n" + padding + "    same(stack(), released(), held())\n    y = 1\n", "moving.py")["moving"]()
    settled(600)


@scenario
def names_that_are_not_ascii():
    for name in ("caf\u00e9", "\u6f22\u5b57", "\U00010330x", "plain"):
        source = "def %s():\n    same(stack(), released(), held())\n" % name
        run(source, "/tmp/%s.py" % name)[unicodedata.normalize("NFKC", name)]()
    run("same(stack(), released(), held())", os.fsdecode(b"/tmp/\xff\xfe.py"))
    run("same(stack(), released(), held())", "\ud800.py")
    settled(12)


@scenario
def long_names_are_cut_before_a_character():
    for character in ("x", "\u00e9", "\u6f22"):
        ids = []
        names = dict(namespace(), ids=ids)
        exec(compile("def %s():\n    ids.append(released())" % (character * 1000), character * 2000, "exec"), names)
        names[character * 1000]()
        file, function, line = frames_of(ids[0])[0]
        size = len(character.encode())
        assert file == character * (1023 // size) and function == character * (255 // size) and line == 2


@scenario
def the_same_stack_has_the_same_id():
    assert len({released() for _ in range(100)} | {held() for _ in range(100)}) == 1

    def rebuilt():
        names = run("def f():\n    return released()\n", "rebuilt.py")
        return names["f"]()

    assert len({rebuilt() for _ in range(200)}) == 1


# ---- code that dies


@scenario
def other_code_at_the_same_address():
    for number in range(4000):
        padding = "    x = 1\n" * (number % 5)
        source = "def f%d():\n%s    same(stack(), released(), held())\n" % (number % 7, padding)
        run(source, "file%d.py" % (number % 3))["f%d" % (number % 7)]()
    settled(8000)


@scenario
def other_lines_of_the_same_size_at_the_same_address():
    """Same file, function, first line and size; only the lines between differ."""
    for number in range(4000):
        above = 1 + number % 13
        source = "def f():\n" + "\n" * above + "    same(stack(), released(), held())\n"
        run(source, "adversary.py")["f"]()
    settled(8000)


@scenario
def long_tables_that_differ_in_the_middle():
    """Only the number of a code object tells these apart, which older ones do not have."""
    if sys.version_info < (3, 12):
        return
    padding = "    x = [1,\n 2]\n" * 20
    for number in range(2000):
        above, below = 1 + number % 13, 14 - number % 13
        source = "def f():\n" + padding + "\n" * above + "    same(stack(), released(), held())\n" + "\n" * below + padding
        run(source, "adversary.py")["f"]()
    settled(4000)


@scenario
def code_that_has_no_number():
    """As when all numbers have been given out: then its content must tell it from what was there before."""
    if not (3, 12) <= sys.version_info < (3, 14):  # where the number lies is found out by how it grows
        return

    def number_of(function, offset):
        return ctypes.c_uint32.from_address(id(function.__code__) + offset)

    some = [run("def f(): pass\n", "adversary.py")["f"] for _ in range(4)]
    (offset,) = [at for at in range(16, 200, 4)
                 if all(0 < number_of(b, at).value - number_of(a, at).value < 16 for a, b in zip(some, some[1:]))]  # fmt: skip
    for number in range(4000):
        above = 1 + number % 13
        function = run("def f():\n" + "\n" * above + "    same(stack(), released(), held())\n", "adversary.py")["f"]
        number_of(function, offset).value = 0
        function()
    settled(8000)


@scenario
def only_the_file_differs_at_the_same_address():
    for number in range(4000):
        run("def f():\n    same(stack(), released(), held())\n", "<generated %03d>" % (number % 100))["f"]()
    settled(8000)


# ---- threads, processes, interpreters


@scenario
def threads_that_contend_for_the_gil():
    stop = False
    problems = []

    def busy():
        while not stop:
            [str(number) for number in range(50)]
            stack()

    def capture(number):
        for depth in range(300):
            nested((depth + number) % 7)
        depth = len(stack())
        problems.append(PROBE.probe_many(20000, depth))

    others = [threading.Thread(target=busy) for _ in range(3)]
    workers = [threading.Thread(target=capture, args=(number,)) for number in range(4)]
    for thread in others + workers:
        thread.start()
    for thread in workers:
        thread.join()
    stop = True
    for thread in others:
        thread.join()
    assert problems == [0] * 4, problems
    settled(2400)


@scenario
def a_thread_without_python():
    assert PROBE.probe_bare_thread() == 0


@scenario
def a_forked_child():
    before = frames_of(released())
    child = os.fork()
    if not child:
        try:
            PROBE.probe_forked()
            nested(2)
            settled(2)
            os._exit(frames_of(released())[1:] != before[1:])
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


@scenario
def subinterpreters_have_no_stacks():
    source = b"def f():\n    stacks.append(capture())\nf()\n"
    assert HELD.probe_subinterpreter(source) == (0,)
    nested(2)
    settled(2)


# ---- samples and texts


@scenario
def large_allocations_are_all_sampled():
    assert all(PROBE.probe_sample(1 << 20) for _ in range(100))
    assert frames_of(PROBE.probe_sample(1 << 20)) == stack()


@scenario
def small_allocations_are_sampled_by_bytes():
    for size in (1 << 10, 100_000, (1 << 20) - 1):
        count = (400 << 20) // size
        sampled = sum(PROBE.probe_sample(size) != 0 for _ in range(count))
        assert 340 <= sampled <= 460, (size, sampled)


@scenario
def texts_are_short():
    names = run("def f():\n    return g()\ndef g():\n    return released()\n", "/a/b/site-packages/torch/nn/x.py")
    names.update(run("def h(f):\n    return f()\n", "/home/me/ComfyUI/custom_nodes/one/nodes.py"))
    captured = names["h"](names["f"])
    room = 1000
    text = framed.ctypes.create_string_buffer(room)
    assert PROBE.probe_text(captured, text, room) == len(text.value)
    lines = text.value.decode().split("\n")
    assert lines[:3] == ["torch/nn/x.py:4 g", "torch/nn/x.py:2 f", "custom_nodes/one/nodes.py:2 h"]
    whole = len(text.value)
    for room in range(4, whole + 2):
        size = PROBE.probe_text(captured, text, room)
        assert size == len(text.value) < room
        got = text.value.decode().split("\n")
        if room > whole:
            assert got == lines
        else:
            assert got[-1] == "..." and got[:-1] == lines[: len(got) - 1]
    assert PROBE.probe_text(0, text, 4) == 0 and text.value == b""


# ---- the end


@scenario
def nothing_after_stop():
    """In a child: stopping is for good."""
    child = os.fork()
    if not child:
        try:
            PROBE.probe_stop()
            os._exit(released() != 0 or HELD.probe_start() != 0)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    assert released() == 0  # not started
    start()
    same(stack(), released(), held())  # module level
    settled(2)
    run_all(*sys.argv[2:])
