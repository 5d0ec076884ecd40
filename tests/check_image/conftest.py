"""docs/deploy/Dockerfile built by buildah, without a container engine and without a registry: what it builds FROM is made
here of Debian's packages. All is kept in build/image, and there made once; the image is built anew when something here has changed."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "image"
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))

# A chroot: other isolations want rights that a container, where this may run, has not.
ENVIRONMENT = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

# As common images of workers have it.
START = """#!/bin/sh
export LD_PRELOAD="$(ldconfig -p | grep -Po '\\S*libtcmalloc_minimal.so.\\d' | head -1)"
exec python3 /comfyui/main.py "$@"
"""


def buildah(*words, seconds=120):
    """Runs buildah; what it says."""
    storage = ["--root", BUILD / "storage", "--runroot", BUILD / "run"]
    command = [os.fspath(word) for word in ("buildah", *storage, *words)]
    return subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True, timeout=seconds
    ).stdout.strip()


def debian(suite, *packages):
    """The tree of a small Debian, as an archive."""
    archive = BUILD / f"{suite}.tar"
    if not archive.exists():
        new = archive.with_suffix(".new.tar")
        include = [f"--include={','.join(packages)}"] if packages else []
        subprocess.run(["mmdebstrap", "-q", "--variant=minbase", *include, suite, new], check=True, timeout=600)
        new.rename(archive)
    return archive


class Container:
    """A container of an image ("scratch": an empty one), and its files in `root`. Use as a context manager."""

    def __init__(self, image):
        self.name = buildah("from", "--pull=never", image)
        self.root = pathlib.Path(buildah("mount", self.name))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        buildah("rm", self.name)

    def settings(self):
        """Entrypoint, Cmd, ..., as a container engine would take them."""
        return json.loads(buildah("inspect", self.name))["OCIv1"]["config"]

    def command(self, *words, **variables):
        """The command line that runs what an engine would run with these arguments, and these variables."""
        settings = self.settings()
        words = [*settings["Entrypoint"], *(words or settings.get("Cmd") or ())]
        options = [f"--env={name}={value}" for name, value in variables.items()]
        storage = ["--root", BUILD / "storage", "--runroot", BUILD / "run"]
        alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]  # nothing of it outlives it
        return [*alone, "buildah", *storage, "run", "--isolation", "chroot", *options, self.name, "--", *words]


def make_image(name, archive, change=lambda container: None):
    with Container("scratch") as container:
        subprocess.run(["tar", "-C", container.root, "-xf", archive], check=True, timeout=300)
        change(container)
        buildah("commit", "-q", container.name, name)


def make_comfyui(container):
    """The stand-in, where ComfyUI often is, and a start script."""
    stand_ins = REPOSITORY / "tests" / "fakes" / "comfyui"
    shutil.copytree(stand_ins / "a3", container.root / "comfyui")
    shutil.copytree(stand_ins / "common", container.root / "common")
    start = container.root / "start.sh"
    start.write_text(START)
    start.chmod(0o755)
    buildah("config", "--cmd", '["/start.sh"]', container.name)


@pytest.fixture(scope="session")
def image():
    """The name of the Dockerfile's image, on top of one with the stand-in for ComfyUI."""
    missing = [program for program in ("buildah", "mmdebstrap") if not shutil.which(program)]
    if missing or os.geteuid():
        pytest.fail(f"needs root, and {' and '.join(missing or ['nothing else'])} (apt-get install buildah mmdebstrap)")
    BUILD.mkdir(parents=True, exist_ok=True)
    make_image("debian:bullseye", debian("bullseye"))
    make_image("comfyui", debian("bookworm", "python3", "libtcmalloc-minimal4"), make_comfyui)
    dockerfile = REPOSITORY / "docs" / "deploy" / "Dockerfile"
    arguments = ["--pull=never", "-f", dockerfile, "--build-arg", "BASE=comfyui", "-t", "comfyui-traced", REPOSITORY]
    try:
        buildah("build", "--layers", *arguments, seconds=1200)
    except subprocess.CalledProcessError as error:
        pytest.fail((error.stdout + error.stderr)[-4000:])
    return "comfyui-traced"
