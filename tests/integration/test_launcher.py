"""comfydd run: the command's exit code, its signals, its terminal, its environment, its restarts."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from programs import HERE

from rig import pythons, session
from rig.launcher import COMFYDD, Launched, LaunchedApp, run
from rig.process import wait_for
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(120)

LIBRARY = COMFYDD.with_name("libcomfydd.so")

# Says what it hears, each time: by a descriptor, since Python handles two of a kind that come together once.
LISTENER = """
import os, signal
signals, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    try:
        signal.signal(number, lambda *_: None)
    except (OSError, ValueError):
        pass
os.write(1, b"ready\\n")
while True:
    for number in os.read(signals, 64):
        os.write(1, b"heard %d\\n" % number)
        if number == signal.SIGUSR1:
            os._exit(40)
"""


def listener(tmp_path, *options, **variables):
    return Launched(tmp_path / "log", *options, "--", sys.executable, "-c", LISTENER, **variables)


def shell(script, *options, **others):
    return run(*options, "--", "sh", "-c", script, **others)


# ---- exit codes ----


@pytest.mark.parametrize("code", [0, 1, 2, 77, 255])
def test_the_exit_code_is_the_commands(code):
    done = shell(f"echo out; exit {code}", "--quiet")
    assert (done.returncode, done.stdout) == (code, "out\n")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGHUP"])
def test_a_signal_gives_128_and_its_number(name):
    number = getattr(signal, name)
    done = shell(f"kill -{number} $$", "--restart=never")
    assert done.returncode == 128 + number
    assert name in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "command, code, says",
    [("no-such-command-here", 127, "No such file"), ("/", 126, "Permission denied")],
)
def test_a_command_that_cannot_be_executed(command, code, says):
    done = run("--quiet", command)
    assert done.returncode == code
    assert done.stderr.startswith(f"comfydd: {command}: {says}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--restart=always", "true"],
        ["--memory-limit=1", "true"],
        ["--grace=", "true"],
        ["--none"],
        [],
        ["--"],
    ],
)
def test_a_command_line_that_cannot_be_meant(words):
    done = run(*words)
    assert done.returncode == 125 and done.stdout == ""
    assert done.stderr.startswith("comfydd run: ")


def test_nothing_is_said_when_quiet_and_well():
    assert shell("true", "--quiet").stderr == ""
    assert shell("exit 3", "--quiet").stderr.startswith("comfydd: the command ended with exit code 3")


# ---- help ----


def test_help_and_manual_tell_of_every_option():
    help_text = run("--help").stdout
    manual = subprocess.run([COMFYDD, "manual"], capture_output=True, text=True, timeout=30).stdout
    options = re.findall(r"^      --([a-z-]+)", help_text, re.M)
    assert {"memory-limit", "restart", "max-restarts", "grace", "quiet", "dry-run"} < set(options)
    for option in options:
        if option != "usage":
            assert option.replace("-", "\\-") in manual, option
    for variable in re.findall(r"COMFYDD_[A-Z_]+", help_text):
        assert variable in manual


def test_the_manual_is_good_troff():
    if not shutil.which("groff"):
        pytest.skip("no groff on this machine")
    manual = subprocess.run([COMFYDD, "manual"], capture_output=True, timeout=30).stdout
    done = subprocess.run(["groff", "-man", "-ww", "-z"], input=manual, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


def test_dry_run_does_nothing(tmp_path):
    done = run("--dry-run", "--memory-limit=2G", "touch", tmp_path / "touched")
    assert done.returncode == 0 and not (tmp_path / "touched").exists()
    for told in (f"touch {tmp_path}/touched", str(LIBRARY), "2.00 GiB", "after a memory kill"):
        assert told in done.stdout


# ---- environment ----


def preload(*options, **variables):
    """LD_PRELOAD as the command finds it, and what was said on stderr."""
    done = shell('printf %s "${LD_PRELOAD-unset}"', "--quiet", *options, **variables)
    assert done.returncode == 0
    return done.stdout, done.stderr


def test_the_library_is_preloaded_first_and_once():
    other = "libm.so.6"  # found by the loader itself; every program can have it
    assert preload() == (str(LIBRARY), "")
    assert preload(LD_PRELOAD=other) == (f"{LIBRARY}:{other}", "")
    assert preload(LD_PRELOAD=f"{other} {LIBRARY}") == (f"{other} {LIBRARY}", "")


@pytest.mark.parametrize("name", ["with space", "with:colon", "with$LIB"])
def test_a_path_that_cannot_be_preloaded(tmp_path, name):
    (tmp_path / name).mkdir()
    shutil.copy(LIBRARY, tmp_path / name)
    found, said = preload(f"--library={tmp_path / name / 'libcomfydd.so'}")
    assert found == "unset"
    assert said.startswith("comfydd: ") and said.count("\n") == 1 and name in said


def test_the_library_is_found_in_lib_beside_bin(tmp_path):
    for folder, file in (("bin", COMFYDD), ("lib", LIBRARY)):
        (tmp_path / folder).mkdir()
        shutil.copy(file, tmp_path / folder)
    words = [tmp_path / "bin" / "comfydd", "run", "--quiet", "sh", "-c", "echo $LD_PRELOAD"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == (f"{tmp_path}/lib/libcomfydd.so\n", "")
    (tmp_path / "lib" / "libcomfydd.so").unlink()
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout == "\n" and "untraced" in done.stderr


# Else a comfydd with sanitizers would look for leaks at its end, and not find its own threads.
WITHOUT_PROC = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


def test_the_library_is_found_without_proc():
    """As in a chroot that nobody has mounted it in."""
    before = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh"]
    if subprocess.run([*before, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not unmount /proc")
    done = run("--quiet", "--memory-limit=none", "sh", "-c", "echo $LD_PRELOAD", before=before, **WITHOUT_PROC)
    assert done.stdout == f"{LIBRARY}\n" and "untraced" not in done.stderr


def test_the_command_knows_its_supervisor():
    done = shell(
        'echo "$COMFYDD_SUPERVISOR $(cut -d" " -f4 /proc/$$/stat) $(cut -d" " -f22 /proc/$PPID/stat)"'
    )
    supervisor, parent, start = done.stdout.split()
    assert re.fullmatch(rf"{parent}\.{start}\.[0-9]+", supervisor)


def test_options_as_variables_and_the_command_line_wins():
    variables = {"COMFYDD_RESTART": "failure", "COMFYDD_MAX_RESTARTS": "0", "COMFYDD_QUIET": "1"}
    done = shell("exit 3", **variables)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "comfydd: not started again: 0 restarts in a row are the most (--max-restarts)"
    assert "not started again" not in shell("exit 3", "--restart=never", **variables).stderr
    done = shell("exit 3", COMFYDD_RESTART="sometimes")
    assert "COMFYDD_RESTART=sometimes is not one of: oom failure never; using oom" in done.stderr


def test_the_command_gets_the_signal_mask_and_dispositions_that_we_got():
    fields = ["grep", "-E", "^(SigBlk|SigIgn):", "/proc/self/status"]
    ignoring = ["env", "--ignore-signal=CHLD", "--ignore-signal=HUP", "--block-signal=USR2"]
    for before in ([], ignoring):
        plain = subprocess.run([*before, *fields], capture_output=True, text=True, timeout=30)
        assert run("--quiet", *fields, before=before).stdout == plain.stdout
    assert shell("exit 9", "--quiet", before=ignoring).returncode == 9


def test_no_descriptor_of_ours_is_open_in_the_command():
    done = run("--quiet", "ls", "/proc/self/fd")
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3: the folder that ls reads


# ---- signals ----


FORWARDED = [
    number
    for number in sorted(signal.valid_signals())
    if number
    not in {
        getattr(signal, f"SIG{name}")
        for name in "KILL STOP CHLD USR1 TTIN TTOU SEGV BUS ILL FPE ABRT TRAP SYS".split()
    }
]


def test_every_signal_is_passed_on(tmp_path):
    with listener(tmp_path) as launched:
        launched.wait_to_say("ready")
        for number in FORWARDED:
            launched.child.send_signal(number)
            launched.wait_to_say(f"heard {int(number)}\n")
        launched.child.send_signal(signal.SIGUSR1)
        assert launched.wait() == 40


def test_one_sigterm_is_the_commands_own_affair(tmp_path):
    with listener(tmp_path, "--grace=0") as launched:
        launched.wait_to_say("ready")
        launched.child.send_signal(signal.SIGTERM)
        launched.wait_to_say("heard 15")
        launched.child.send_signal(signal.SIGUSR1)
        assert launched.wait() == 40
        assert "was stopped with SIGTERM" in launched.text()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_one_kills_after_the_grace_period(tmp_path, second):
    with listener(tmp_path, "--grace=1") as launched:
        launched.wait_to_say("ready")
        launched.child.send_signal(signal.SIGTERM)
        launched.wait_to_say("heard 15")
        launched.child.send_signal(second)
        assert launched.wait() == 137
        assert "killed when it had not stopped in time" in launched.text()
        ran = float(re.search(r"after ([\d.]+) s\n", launched.text())[1])
        assert ran >= 1


def test_the_grace_period_is_that_of_the_first_one(tmp_path):
    with listener(tmp_path, "--grace=4") as launched:
        launched.wait_to_say("ready")
        launched.child.send_signal(signal.SIGTERM)
        launched.wait_to_say("heard 15")
        told = time.monotonic()
        wait_for("most of it to pass", 10, lambda: time.monotonic() > told + 3)
        launched.child.send_signal(signal.SIGTERM)
        assert launched.wait() == 137
        assert time.monotonic() - told < 3 + 4 - 1


def slow_kill(folder):
    """Preloaded, it makes the signals that comfydd sends late."""
    library = folder / "slow_kill.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "slow_kill.c", "-ldl"], check=True, timeout=60)
    return library


def test_a_signal_to_the_group_reaches_the_command_once(tmp_path):
    """As timeout(1) and CI runners send it; without a terminal, as here, the command has a group of its own."""
    words = ["env", f"LD_PRELOAD={slow_kill(tmp_path)}", COMFYDD, "run", "--", sys.executable, "-c", LISTENER]
    log = tmp_path / "log"
    with open(log, "wb") as output:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for("the command", 20, lambda: "ready" in log.read_text())
        for number in (signal.SIGHUP, signal.SIGUSR2):
            os.killpg(child.pid, number)
            wait_for("the signal", 20, lambda: f"heard {int(number)}\n" in log.read_text())
        child.send_signal(signal.SIGUSR1)
        assert child.wait(20) == 40
        assert log.read_text().count("heard") == 3
    finally:
        child.kill()


def test_a_command_that_was_told_to_stop_is_not_started_again(tmp_path):
    with listener(tmp_path, "--restart=failure") as launched:
        launched.wait_to_say("ready")
        launched.child.send_signal(signal.SIGINT)
        launched.wait_to_say("heard 2")
        launched.child.send_signal(signal.SIGUSR1)
        assert launched.wait() == 40
        assert launched.text().count("ready") == 1


# ---- processes ----


def namespace():
    """A command that makes a PID namespace, in which the next command is PID 1."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*words, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not make a PID namespace")
    return words


# Makes orphans, waits until they are gone from the process table, and tells who its parent is.
ORPHANS = """
import os, sys, time
for i in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(3)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 20
while len([name for name in os.listdir("/proc") if name.isdigit()]) > EXPECTED:
    if time.monotonic() > deadline:
        sys.exit(99)
    time.sleep(0.01)
print(os.getppid())
sys.exit(5)
"""


def test_as_pid_1_it_reaps_orphans():
    program = ORPHANS.replace("EXPECTED", "2")  # comfydd and this program
    done = run("--quiet", "--", sys.executable, "-c", program, before=namespace())
    assert (done.returncode, done.stdout) == (5, "1\n"), done


def test_as_pid_1_signals_and_exit_codes_are_right(tmp_path):
    done = shell("kill -TERM 1; sleep 20 & wait", before=namespace())
    assert done.returncode == 143 and "was stopped with SIGTERM" in done.stderr


# An orphan that ends when it has become comfydd's; then it must go from the process table.
ADOPTED = """
import os, sys, time
launcher, deadline = os.getppid(), time.monotonic() + 20
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != launcher and time.monotonic() < deadline:
            time.sleep(0.01)
        os.write(writing, b"%d %d" % (os.getpid(), os.getppid() == launcher))
        os._exit(3)
    os._exit(0)
os.wait()
pid, adopted = os.read(reading, 100).split()
while os.path.exists(b"/proc/" + pid) and time.monotonic() < deadline:
    time.sleep(0.01)
sys.exit(6 if adopted == b"1" and not os.path.exists(b"/proc/" + pid) else 1)
"""


def test_elsewhere_it_adopts_and_reaps_the_orphans_of_its_command():
    assert run("--quiet", "--", sys.executable, "-c", ADOPTED).returncode == 6


def without_lists_of_children():
    """A command that takes /proc/PID/task/PID/children from the next one: not every kernel has it, and gVisor has not."""
    words = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /proc/$$/task && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not mount")
    return words


@pytest.mark.parametrize("before", [list, without_lists_of_children])
def test_what_is_left_is_killed_before_a_restart(tmp_path, before):
    script = f"""
    if [ -e {tmp_path}/pid ]; then kill -0 $(cat {tmp_path}/pid) 2>/dev/null && exit 9; exit 0; fi
    setsid sleep 1000 & echo $! >{tmp_path}/pid; exit 1"""
    done = shell(script, "--restart=failure", "--max-restarts=1", "--memory-limit=none", before=before(), **WITHOUT_PROC)
    assert done.returncode == 0 and "cannot be killed" not in done.stderr, done.stderr


def test_what_is_left_by_one_that_had_to_be_killed_is_killed_too(tmp_path):
    """Else it would have the port, or the GPU, with nobody to look after it."""
    program = "import subprocess\nprint('left', subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)"
    with Launched(tmp_path / "log", "--grace=0", "--", sys.executable, "-c", program + LISTENER) as launched:
        launched.wait_to_say("ready")
        launched.child.send_signal(signal.SIGTERM)
        launched.wait_to_say("heard 15")
        launched.child.send_signal(signal.SIGTERM)
        assert launched.wait() == 137
        assert not pathlib.Path("/proc", re.search(r"left (\d+)", launched.text())[1]).exists()


def test_what_was_there_before_is_not_killed(tmp_path):
    """As a start script's ssh server: it has become comfydd's child when the script became comfydd (exec)."""
    before = ["sh", "-c", f'sleep 1000 >/dev/null 2>&1 & echo $! >{tmp_path}/pid; exec "$@"', "sh"]
    done = shell("exit 1", "--restart=failure", "--max-restarts=1", before=before)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert done.returncode == 1 and "cannot be killed" not in done.stderr
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_command_with_the_number_of_one_that_was_there_before(tmp_path):
    """Numbers come again, and the command is no stranger then: comfydd would never see its end."""
    before = ["sh", "-c", 'sleep 0.2 >/dev/null 2>&1 & echo $! >"$1"; shift; exec "$@"', "sh", tmp_path / "pid"]
    script = f"""
    pid=$(cat {tmp_path}/pid)
    [ $$ != $pid ] || exit 7
    while kill -0 $pid 2>/dev/null; do :; done
    echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid || exit 3; exit 1"""
    done = shell(script, "--restart=failure", "--max-restarts=1", "--quiet", before=[*namespace(), *before], seconds=20)
    if done.returncode == 3:
        pytest.skip("this user may not choose the next process's number")
    assert done.returncode == 7, done.stderr


def test_what_is_left_at_the_end_stays(tmp_path):
    done = shell(f"sleep 1000 >/dev/null 2>&1 & echo $! >{tmp_path}/pid")
    pid = int((tmp_path / "pid").read_text())
    try:
        assert done.returncode == 0
        os.kill(pid, 0)
        assert "comfydd-" not in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    finally:
        os.kill(pid, signal.SIGKILL)


# ---- restarts ----


def test_restarts_are_counted_and_end():
    begun = time.monotonic()
    done = shell("echo run; exit 4", "--restart=failure", "--max-restarts=2")
    assert time.monotonic() - begun > 1 + 2  # seconds that it says it waits
    assert (done.returncode, done.stdout) == (4, "run\n" * 3)
    told = [line.removeprefix("comfydd: ") for line in done.stderr.splitlines()]
    assert told[2::2] == [
        "starting it again in 1 s (restart 1 of at most 2)",
        "starting it again in 2 s (restart 2 of at most 2)",
        "not started again: 2 restarts in a row are the most (--max-restarts)",
    ]


@pytest.mark.parametrize("when, runs", [("oom", 1), ("never", 1)])
def test_a_failure_is_not_restarted_unless_asked_for(when, runs):
    assert shell("echo run; exit 4", f"--restart={when}").stdout == "run\n" * runs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_wait_for_a_restart(tmp_path, number):
    with Launched(tmp_path / "log", "--restart=failure", "--", "false") as launched:
        launched.wait_to_say("in 1 s")
        launched.child.send_signal(number)
        assert launched.wait(5) == 128 + number
        assert launched.text().count("the command ended") == 1


def test_a_restart_by_comfyui_manager_is_no_failure(tmp_path):
    """comfy-cli above us looks for the file when we have ended, and starts everything again."""
    session_path = tmp_path / "session"
    script = f"touch {session_path}.reboot; exit 0"
    done = shell(script, "--restart=failure", __COMFY_CLI_SESSION__=str(session_path))
    assert done.returncode == 0 and "to be started again" in done.stderr


# ---- ComfyUI ----


@pytest.mark.parametrize("version", [list(pythons.find())[0], list(pythons.find())[-1]])
def test_a_comfyui_is_traced_as_with_the_plain_preload(traced, agent, tmp_path, version):
    plain = traced("a3", version)
    agent.take_spans()
    app = LaunchedApp(StandIn(pythons.with_pillow(version), "a3"))
    launched = session.collect(session.run(app, tmp_path, agent, library=None), agent.take_spans())
    assert launched.exit_code == plain.exit_code == 0
    assert launched.histories == plain.histories
    assert launched.log == plain.log

    def shape(trace):
        nodes = [(n["meta"]["node.id"], n["resource"], n["meta"]["node.result"]) for n in trace.nodes]
        return trace.root["meta"]["workflow.status"], nodes

    assert set(launched.traces) == set(plain.traces)
    for name, trace in plain.traces.items():
        assert (launched.traces[name] is None) == (trace is None), name
        if trace:
            assert shape(launched.traces[name]) == shape(trace), name
