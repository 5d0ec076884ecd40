"""Runs workflows of a stand-in, in a generation's folder, until it is killed, or does what its argument says.

usage: killed_program.py DIARY [once | exec [WHAT...] | again | die | die-early | die-later | sleep SECONDS | fork]

DIARY gets a line "begin PROMPT" before each workflow, "in PROMPT" when its second node sleeps, "end PROMPT" after it. once: one
workflow. exec: a node of the first workflow replaces the process by one that does WHAT, or runs another workflow. again: after
some workflows a node replaces the process by one that does the same. die: a node kills the process. die-early: as if the clock
had been set back before. die-later: one of a second workflow. sleep: a node takes so long. fork: as sleep, after a first
workflow and in the presence of a child that outlives the process, whose pid is in a line "child PID". nobody: as die, as that
user, who may not write a diary."""

import os
import signal
import sys
import time

from stand_in_program import application, nodes, shown

DIARY, WHAT, *REST = (*sys.argv[1:], "")
running = None  # the prompt
SUCCESSORS = {"exec": REST[:-1] or ["once"], "again": ["again"]}


def note(*words):
    with open(DIARY, "a") as diary:
        diary.write(" ".join(map(str, words)) + "\n")


def act(value, seconds):
    if seconds in SUCCESSORS:
        os.execv(sys.executable, [sys.executable, sys.argv[0], DIARY, *SUCCESSORS[seconds]])
    if seconds == "die-early":
        from rig import flight  # here: only one test gives us that path

        flight.set_alive(time.time() + 3600)
    if seconds in ("die", "die-early"):
        os.kill(os.getpid(), signal.SIGKILL)
    note("in", running)
    time.sleep(float(seconds))
    return (value,)


nodes.NODE_CLASS_MAPPINGS["Act"] = type(
    "Act", (nodes.Node,), {"INPUTS": {"value": {}, "seconds": {}}, "run": lambda self, value, seconds: act(value, seconds)})


def run(what):
    global running
    running = name = "prompt-%d-%d" % (os.getpid(), time.monotonic_ns())
    prompt = shown("Act", value=["1", 0], seconds=what)
    note("begin", name)
    application.run_here(prompt, name, {"job_id": name})
    note("end", name)


if WHAT in ("exec", "die", "die-early"):
    run(WHAT)
elif WHAT == "die-later":
    run(0)
    run("die")
elif WHAT == "again":
    for _ in range(20):
        run(0.001)
    run("again")
elif WHAT == "nobody":
    os.setgid(65534)
    os.setuid(65534)
    application.run_here(shown("Act", value=["1", 0], seconds="die"), "nobodys", {"job_id": "nobodys"})
elif WHAT == "once":
    run(0)
elif WHAT in ("sleep", "fork"):
    if WHAT == "fork":
        run(0)
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        note("child", child)
    run(REST[0])
else:
    while True:
        run(0.001)
