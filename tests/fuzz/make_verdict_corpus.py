"""Makes the seeds of fuzz_verdict: files as kernels write them, and facts of deaths. usage: make_verdict_corpus.py FOLDER"""

import pathlib
import struct
import sys

MiB = 1 << 20
SIGKILL = 9
SIGNALLED, WE_KILLED, RESTART_WANTED, HAS_GROUP = 1, 2, 4, 8
NO_LIMIT, GROUP_LIMIT, DATA_LIMIT = range(3)

STAT = "71 (a) b) R (c) S 1 71 71 0 -1 4194560 100 0 0 0 3 1 0 0 20 0 5 0 2600766 1000 200 18446744073709551615\n"
MEMINFO = "MemTotal:       16384 kB\nMemFree:         8192 kB\nMemAvailable:   12000 kB\n"
V2 = {
    "events": "low 0\nhigh 0\nmax 40\noom 12\noom_kill 3\noom_group_kill 1\n",
    "events.local": "low 0\nhigh 0\nmax 4\noom 2\noom_kill 3\noom_group_kill 1\n",
    "stat": "anon 4096\nfile 8192\ninactive_file 2000\n",
    "current": "5000\n",
    "peak": "9000\n",
    "max": "67108864\n",
}
V1 = ["oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "12\n", "inactive_file 1\ntotal_inactive_file 2000\n"]
V1 += ["5000\n", "9000\n", "9223372036854771712\n"]


def facts(flags=0, code=0, stop_signal=0, limit=NO_LIMIT, limit_bytes=0, peak=0, counts=(0,) * 7):
    """The fuzzer's eight bytes, and a struct verdict_facts of which only the numbers count."""
    head = struct.pack("<BBBB4x", flags, code, stop_signal, limit)
    return head + struct.pack("<40x QQ 8x 7Q", limit_bytes, peak, *counts)


def texts(cgroup, v2=True, v1=True):
    files = [cgroup, MEMINFO, "3000 500 200 1 0 900 0\n"]
    files += V2.values() if v2 else [""] * len(V2)
    files += V1 if v1 else [""] * len(V1)
    return "\0".join(files).encode()


limit = {"limit": GROUP_LIMIT, "limit_bytes": 64 * MiB, "peak": 64 * MiB}
SEEDS = {
    "success": facts() + texts("0::/\n"),
    "our_limit": facts(SIGNALLED | HAS_GROUP, SIGKILL - 1, **limit, counts=(0, 0, 1, 0, 3, 5, 6)) + texts("0::/\n", v1=False),
    "container": facts(SIGNALLED | HAS_GROUP, SIGKILL - 1, **limit, counts=(0, 0, 1, 0, 0, 5, 6)) + texts("5:memory:/docker/c\n"),
    "machine": facts(SIGNALLED, SIGKILL - 1, counts=(0, 0, 0, 0, 0, 5, 6)) + texts("", v2=False),
    "data_limit": facts(0, 1, limit=DATA_LIMIT, limit_bytes=64 * MiB, peak=60 * MiB) + texts("nonsense"),
    "stopped": facts(SIGNALLED | WE_KILLED, SIGKILL - 1, 15) + texts("0::/a.service\n"),
    "crashed": facts(SIGNALLED, 10) + texts("9:cpu,memory:/x\n0::/\n"),
    "restart": facts(RESTART_WANTED) + STAT.encode(),
    "wrapper": facts(HAS_GROUP, 1, counts=(1, 1, 2, 0, 0, 0, 0)) + STAT.encode(),
    "shell": facts(HAS_GROUP, 137, counts=(1, 1, 2, 0, 0, 0, 0)) + STAT.encode(),
}

for name, seed in SEEDS.items():
    (pathlib.Path(sys.argv[1]) / name).write_bytes(seed)
