"""The image that docs/deploy/Dockerfile makes, with a ComfyUI stand-in in it."""

import os
import pathlib
import signal

import pytest
from conftest import Container
from strict_agent_process import StrictAgent

from rig import comfyui
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(1800)  # the first one makes the image

LIST = pathlib.Path("/etc/ld.so.preload")  # of the loader, for all processes


class InContainer(StandIn):
    """The stand-in in a container of its own."""

    def __init__(self, container, *words, **variables):
        super().__init__()
        self.container = container
        self.words = words
        self.variables = {"COMFYDD_FLIGHT_FOLDER": "/tmp", **variables}  # /dev/shm is this machine's

    def command(self, folder):
        return self.container.command(*self.words, **self.variables)


def processes_below(pid):
    """The pids of all that it has started, directly or not."""
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield int(child)
            yield from processes_below(child)


class Application(comfyui.ComfyUI):
    """buildah does not pass signals on."""

    def stop(self):
        below = [*processes_below(self.process.child.pid)] if self.process.runs() else []
        for pid in below:
            if pathlib.Path(f"/proc/{pid}/comm").read_text() == "comfydd\n":
                os.kill(pid, signal.SIGINT)
                self.process.child.wait(30)
                break
        super().stop()


def spans_of_a_workflow(tmp_path, image, *words, **variables):
    """What an agent gets of it, and what the container's log says."""
    with StrictAgent() as agent, Container(image) as container:
        app = InContainer(container, *words, DD_TRACE_AGENT_URL=agent.url, **variables)
        with Application(app, tmp_path / "application") as application:
            application.run(application.workflows(tmp_path)[0])
        assert application.exit_code == 0, application.log()
        assert agent.ask("violations") == []
        return agent.spans, application.log()


def test_what_an_engine_will_run(image):
    with Container(image) as container:
        settings = container.settings()
        assert settings["Entrypoint"] == ["/opt/comfydd/bin/comfydd-entrypoint"]
        assert not settings.get("Cmd")  # that of the base goes with an entrypoint of ours


def test_without_a_command_it_finds_comfyui(tmp_path, image):
    spans, log = spans_of_a_workflow(tmp_path, image)
    assert [span["name"] for span in spans].count("comfyui.workflow.execute") == 1
    assert "comfydd: " in log


def test_a_start_script_that_overwrites_the_preload_keeps_the_library_out(tmp_path, image):
    assert spans_of_a_workflow(tmp_path, image, "/start.sh")[0] == []


def test_but_not_with_the_loaders_own_list(tmp_path, image):
    before = LIST.exists() and LIST.read_text()
    spans, _ = spans_of_a_workflow(tmp_path, image, "/start.sh", COMFYDD_LD_SO_PRELOAD=str(LIST))
    assert [span["name"] for span in spans].count("comfyui.workflow.execute") == 1
    assert (LIST.exists() and LIST.read_text()) == before


def test_the_command_of_the_image_is_given_again(tmp_path, image):
    with Container("comfyui") as base:
        command = base.settings()["Cmd"]
    assert spans_of_a_workflow(tmp_path, image, *command, COMFYDD_LD_SO_PRELOAD=str(LIST))[0]
