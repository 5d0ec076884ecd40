"""Runs the tests of this folder in a small virtual machine, whose init is `comfydd run`.

usage: machine.py [--power-loss | PYTEST-ARGUMENT...]

For what only a machine of one's own has: a writable hierarchy of cgroup v2, pid 1, and memory that may run out. QEMU and
Debian's kernel for clouds are downloaded into build/vm with apt-get, and unpacked there; nothing is installed. The machine's
file system is an archive in memory with this Python, a few programs of this machine, the built comfydd, and tests/, all
of them under the paths that they have here. The processor is emulated, so that it needs no rights and runs everywhere.

For test_power_loss.py it gets a disk, is ended in the middle (by QEMU's death; what it has written stays), and started again
with the same disk. That is done last, or alone."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD = REPOSITORY / "build" / "vm"
KERNEL = "linux-image-cloud-amd64"
QEMU = "qemu-system-x86"
TOOLS = "sh cat env grep kill mkdir mount sed sleep test touch true umount unshare".split()
PACKAGES = ("_pytest", "pytest", "pytest_timeout.py", "py.py", "pluggy", "iniconfig", "packaging")
UNNEEDED = ("__pycache__", "site-packages", "dist-packages", "test", "idlelib", "ensurepip", "lib2to3", "tkinter", "config-*")
DEADLINE = 600  # seconds for one run of the machine
POWER_LOSS = "tests/check_vm/test_power_loss.py"
PULL_THE_PLUG = "pull the plug"  # a line on the console by which a test asks for it


# ---- the machine's parts ----


def output_of(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=300).stdout


def fetch():
    """QEMU with its libraries, and the kernel, unpacked in build/vm/root."""
    root = BUILD / "root"
    if (BUILD / "ready").exists():
        return root
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "packages").mkdir(parents=True)
    missing = output_of("apt-get", "install", "-s", "--reinstall", "--no-install-recommends", QEMU)
    wanted = re.findall(r"^Inst (\S+)", missing, re.MULTILINE)
    wanted += re.findall(r"Depends: (linux-image-\S+)", output_of("apt-cache", "depends", KERNEL))[:1]
    subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *wanted], cwd=BUILD / "packages", check=True, timeout=300)
    for package in (BUILD / "packages").iterdir():
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=300)
    shutil.rmtree(BUILD / "packages")
    (BUILD / "ready").touch()
    return root


class Archive:
    """A file system for the kernel: a cpio archive of the "new" format (Documentation/driver-api/early-userspace)."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.names = set()

    def _entry(self, name, mode, content=b""):
        if name in self.names:
            return
        self.names.add(name)
        self.directory(pathlib.PurePath(name).parent)
        encoded = name.encode() + b"\0"
        fields = [len(self.names), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
        self._padded(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._padded(content)

    def _padded(self, content):
        self.file.write(content + bytes(-len(content) % 4))

    def directory(self, path):
        name = str(path).strip("/")
        if name not in ("", "."):
            self._entry(name, stat.S_IFDIR | 0o755)

    def link(self, path, target):
        self._entry(str(path).strip("/"), stat.S_IFLNK | 0o777, os.fsencode(target))

    def add(self, path, at=None):
        """A file or a folder of this machine, under its own path or another."""
        path, at = pathlib.Path(path), pathlib.Path(at or path)
        at = at.parent.resolve() / at.name  # /lib may be a link
        if path.is_dir():
            self.directory(at)
            kept = (entry for entry in path.iterdir() if not any(entry.match(name) for name in UNNEEDED))
            for entry in kept:
                self.add(entry, at / entry.name)
        else:
            mode = stat.S_IFREG | (path.stat().st_mode & 0o777)
            self._entry(str(at).strip("/"), mode, path.read_bytes())
            if path.suffix == ".so" or os.access(path, os.X_OK):
                self._libraries(path)

    def _libraries(self, path):
        said = subprocess.run(["ldd", path], capture_output=True, text=True, timeout=60).stdout
        for library in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", said, re.MULTILINE):
            if library.strip("/") not in self.names:
                self.add(library)

    def finish(self):
        self._entry("TRAILER!!!", 0)
        self.file.close()


def make_archive(path):
    archive = Archive(path)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            archive.link(name, os.readlink(f"/{name}"))
    for name in ("proc", "sys", "dev", "tmp", "run", "disk"):
        archive.directory(name)
    archive.add(HERE / "init", "/init")
    for tool in TOOLS:
        archive.add(shutil.which(tool), f"/usr/bin/{tool}")
    archive.add(os.path.realpath(sys.executable))
    archive.add(sysconfig.get_path("stdlib"))
    for library in pathlib.Path("/").glob("lib/*-linux-gnu/libgcc_s.so.1"):  # loaded by name where a thread is ended
        archive.add(library)
    for package in PACKAGES:
        archive.add(pathlib.Path(sysconfig.get_path("purelib")) / package)
    for name in ("build/comfydd", "build/libcomfydd.so", "tests"):
        archive.add(REPOSITORY / name)
    archive.finish()


def make_disk(path):
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", path], check=True, timeout=60)


# ---- running it ----


def command_of(root, archive, disk, arguments):
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    setting = {
        "PYTHON": os.path.realpath(sys.executable),
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "REPOSITORY": REPOSITORY,
    }
    words = [f"{name}={value}" for name, value in setting.items()]  # what the kernel does not know is init's environment
    words += ["console=ttyS0", "loglevel=1", "panic=-1", "cgroup_no_v1=all", "--", *arguments]
    command = [root / "usr/bin/qemu-system-x86_64", "-L", root / "usr/share/qemu", "-L", root / "usr/share/seabios"]
    command += ["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512", "-nodefaults", "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-kernel", kernel, "-initrd", archive]
    if disk:
        command += ["-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "nvme,drive=disk,serial=disk"]
    return [*command, "-append", " ".join(words)]


def boot(root, archive, arguments, disk=None):
    """Runs the machine to its end; its console."""
    libraries = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command_of(root, archive, disk, arguments), env=environment, **pipes) as machine:
        end = threading.Timer(DEADLINE, machine.kill)
        end.start()
        console = []
        for line in machine.stdout:
            console.append(line.decode(errors="replace").rstrip())
            if console[-1] == PULL_THE_PLUG:
                machine.kill()
            if not any("Kernel panic" in line for line in console):
                print(console[-1], flush=True)
        end.cancel()
    return "\n".join(console)


def exit_code_of_init(console):
    """The kernel does not go on without its init, and tells how that ended; None when it did not."""
    status = re.search(r"Attempted to kill init! exitcode=0x([0-9a-f]{8})", console)
    return os.waitstatus_to_exitcode(int(status[1], 16)) if status else None


def run_tests(*machine, **options):
    """Runs the machine; how many tests of it have passed, failed, and were skipped."""
    began = time.monotonic()
    console = boot(*machine, **options)
    code = exit_code_of_init(console)
    print(f"The machine ran for {time.monotonic() - began:.0f} s; its init, comfydd run, ended with {code}.")
    summary = console.rpartition("\n")[2] if code is None else console.partition("Kernel panic")[0]
    counts = {what: int(count) for count, what in re.findall(r"\b(\d+) (passed|failed|error|skipped)", summary)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    return counts.get("passed", 0), failed or int(code != 0), counts.get("skipped", 0)


def lose_power(root, archive):
    """test_power_loss.py, as run_tests()."""
    disk = BUILD / "disk"
    make_disk(disk)
    console = boot(root, archive, [POWER_LOSS, "-k", "is_lost"], disk)
    if not console.endswith(PULL_THE_PLUG):
        return 0, 1, 0
    passed, failed, skipped = run_tests(root, archive, [POWER_LOSS, "-rP", "-k", "is_back"], disk=disk)
    return passed + 1, failed, skipped


def main(arguments):
    root, archive = fetch(), BUILD / "archive"
    make_archive(archive)
    results = []
    if arguments != ["--power-loss"]:
        results.append(run_tests(root, archive, ["tests/check_vm", f"--ignore={POWER_LOSS}", *arguments]))
    if arguments in ([], ["--power-loss"]):
        results.append(lose_power(root, archive))
    passed, failed, skipped = map(sum, zip(*results))
    print(f"check-vm: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
