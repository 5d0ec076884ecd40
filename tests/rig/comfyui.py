"""A running ComfyUI, spoken to over HTTP as its users do. What to run comes from an App: Checkout here, or
StandIn."""

import os
import pathlib
import re
import sys
import urllib.parse

from rig import workflows
from rig.process import Failed, Process, environment_without_datadog, free_ports, get, http, wait_for

RIG = pathlib.Path(__file__).resolve().parent
REPOSITORY = RIG.parent.parent


class Checkout:
    """A ComfyUI checkout of any version, run on the CPU."""

    listening = re.compile(r"To see the GUI go to: http://127\.0\.0\.1:(\d+)")  # what it prints when it does
    environment = {"HF_HUB_OFFLINE": "1"}

    def __init__(self, home, python):
        self.folder = pathlib.Path(home).resolve()
        self.python = os.path.abspath(
            python
        )  # a link must stay one: it is how a virtual environment is found
        self.custom_nodes = [RIG / "custom_nodes"]
        for name in ("tests/execution/testing_nodes", "tests/inference/testing_nodes"):  # ComfyUI's own
            if (self.folder / name).exists():
                self.custom_nodes.append(self.folder / name)
        if not (self.folder / "main.py").exists():
            raise Failed(f"{self.folder} is no ComfyUI: it has no main.py")

    def __str__(self):
        return f"ComfyUI {self.version()} in {self.folder}"

    def version(self):
        try:
            return re.search(r'__version__ = "(.*)"', (self.folder / "comfyui_version.py").read_text())[1]
        except OSError:
            return "before 0.3"

    def command(self, folder):
        """The command line, with only those options that this version has; files are written under
        `folder`."""
        known = (self.folder / "comfy" / "cli_args.py").read_text()
        paths = folder / "paths.yaml"
        paths.write_text("rig:\n    custom_nodes: |\n" + "".join(f"        {p}\n" for p in self.custom_nodes))
        for name in ("output", "user"):
            (folder / name).mkdir()
        options = [
            ("--listen", "127.0.0.1"),
            ("--port", str(free_ports(1)[0])),
            ("--cpu",),
            ("--disable-api-nodes",),
            ("--database-url", "sqlite:///:memory:"),
            ("--extra-model-paths-config", paths),
            ("--output-directory", folder / "output"),
            ("--temp-directory", folder),
            ("--user-directory", folder / "user"),
        ]
        return [self.python, "main.py", *(part for o in options if f'"{o[0]}"' in known for part in o)]

    def history(self, prompt_id):
        """Where the server tells of a prompt; before June 2023 it told of all at once."""
        of_one = "/history/{prompt_id}" in (self.folder / "server.py").read_text()
        return f"history/{prompt_id}" if of_one else "history"

    def node_has_started(self, application, started):
        return pathlib.Path(started).exists()

    def workflows(self, application, folder):
        classes = set(http(application.url + "/object_info", seconds=60))
        return workflows.of_comfyui(classes, folder)


def checkout_from_environment():
    """The checkout that COMFYUI names, run by COMFYUI_PYTHON or its own virtual environment; None when
    unset."""
    if not os.environ.get("COMFYUI"):
        return None
    home = pathlib.Path(os.environ["COMFYUI"])
    own = [p for p in (home / "venv/bin/python", home / ".venv/bin/python") if p.exists()]
    return Checkout(home, os.environ.get("COMFYUI_PYTHON") or (own + [sys.executable])[0])


class ComfyUI:
    """One running application. Use as a context manager; log() and exit_code are there afterwards too."""

    def __init__(self, app, folder, preload=None, environment=None):
        """Its files are in `folder`, which is made; `preload` is the library or None."""
        folder = pathlib.Path(folder)
        folder.mkdir()
        env = {
            **environment_without_datadog(),
            "COMFYDD_FLIGHT_FOLDER": os.fspath(folder),  # orphans are adopted where a test wants that
            "PYTHONUNBUFFERED": "1",
            **app.environment,
            **(environment or {}),
        }
        if preload:
            env["LD_PRELOAD"] = os.fspath(preload)
        self.app = app
        self.url = self.exit_code = None
        self.process = Process(str(app), app.command(folder), folder / "comfyui.log", cwd=app.folder, env=env)

    def __enter__(self):
        try:
            self.url = "http://127.0.0.1:" + wait_for("ComfyUI to listen", 180, self._listening)[1]
        except BaseException:
            if self.process.runs():
                print(self.process.last_lines(), file=sys.stderr)
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _listening(self):
        self.process.must_run()
        return self.app.listening.search(self.log())

    def stop(self):
        self.exit_code = self.process.stop()

    def log(self):
        return self.process.log.read_text(errors="replace")

    def workflows(self, folder):
        """The seven of rig.workflows, as this application can run them."""
        return self.app.workflows(self, folder)

    def submit(self, prompt, extra_data=None, client_id=None, prompt_id=None):
        """Queues a prompt and returns its id; ComfyUI makes one where none is given."""
        ids = {"client_id": client_id, "prompt_id": prompt_id}
        body = {"prompt": prompt, "extra_data": extra_data or {}, **{k: v for k, v in ids.items() if v}}
        return http(self.url + "/prompt", body)["prompt_id"]

    def wait(self, prompt_id, seconds=60):
        """The history entry of a prompt, once it is done."""

        history = f"{self.url}/{self.app.history(prompt_id)}"

        def done():
            self.process.must_run()
            return http(history).get(prompt_id)

        return wait_for(f"prompt {prompt_id} to be done", seconds, done)

    def run(self, workflow, client_id=None, **extra_data):
        """Queues a workflow, interrupts it where it wants that, waits until it is done; the prompt's id."""
        prompt_id = self.submit(workflow.prompt, {"job_id": workflow.job_id, **extra_data}, client_id)
        if workflow.interrupt_when:
            wait_for(
                "the node to interrupt", 30, lambda: self.app.node_has_started(self, workflow.interrupt_when)
            )
            get(self.url + "/interrupt", method="POST")
        self.wait(prompt_id)
        return prompt_id

    def image(self, where):
        """The bytes of an image that the history names."""
        return get(f"{self.url}/view?{urllib.parse.urlencode(where)}")
