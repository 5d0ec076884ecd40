"""The documents and the files for deployment name nothing that there is not."""

import configparser
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from programs import REPOSITORY

from rig.launcher import COMFYDD

DEPLOY = REPOSITORY / "docs" / "deploy"
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "HACKING.md", *(REPOSITORY / "docs").rglob("*.*")]
OF_THE_ENTRYPOINT = {"COMFYDD_PROGRAM", "COMFYDD_LD_SO_PRELOAD"}
OF_TESTS = re.compile("COMFYDD_(TEST_.*|.*KILLS.*|LINKED)")


def known_variables():
    rows = (REPOSITORY / "README.md").read_text().partition("<!-- config table")[2]
    return set(re.findall(r"^\| `([A-Z_]+)`", rows, re.M))


def named(pattern):
    """{name: the documents that have it}."""
    found = {}
    for document in DOCUMENTS:
        for name in re.findall(pattern, document.read_text()):
            found.setdefault(name, set()).add(document.name)
    return found


def test_variables():
    names = named(r"\bCOMFYDD_[A-Z_]*[A-Z]\b")
    assert len(names) > 15
    unknown = {name: where for name, where in names.items() if not OF_TESTS.fullmatch(name)}
    assert {n: unknown[n] for n in set(unknown) - known_variables() - OF_THE_ENTRYPOINT} == {}


def test_options():
    options = set(re.findall(r"--[a-z-]+", subprocess.run(
        [COMFYDD, "run", "--help"], capture_output=True, text=True, timeout=30, check=True).stdout))
    lines = named(r"comfydd run ((?:--[a-z-]+(?:=\S+)? )+)")
    used = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}
    in_tables = set(named(r"^\| `(--[a-z-]+)")) | set(named(r"`(--(?:jobs|watchdog|restart|memory|max|grace|state)[a-z-]*)"))
    assert len(used) > 1 and len(in_tables) > 5
    assert used | in_tables <= options


def test_the_systemd_unit():
    """comfydd restarts, and systemd neither does so nor takes a memory kill for the end."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "comfyui.service")
    service = unit["Service"]
    expected = {"Restart": "no", "OOMPolicy": "continue", "Delegate": "memory", "KillMode": "mixed"}
    assert {name: service[name] for name in expected} == expected
    assert service["ExecStart"].startswith("/usr/local/bin/comfydd run -- ")


def test_the_systemd_unit_is_one_for_systemd(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "comfyui.service"
    unit.write_text((DEPLOY / unit.name).read_text().replace("/usr/local/bin/comfydd", str(COMFYDD)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("version", ["1.28", "1.34"])
def test_the_kubernetes_manifest_is_one_for_kubernetes(version):
    """By the published schema of that version, with nothing in it that the schema does not know."""
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_kubernetes_manifest():
    pod = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
    (container,), (files,) = pod["containers"], pod["initContainers"]
    sources = {variable["name"]: variable.get("valueFrom") for variable in container["env"]}
    assert sources["DD_ENTITY_ID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert sources["COMFYDD_MEMORY_LIMIT"] == {"resourceFieldRef": {"resource": "limits.memory"}}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts) == set(volumes)
    assert volumes["datadog"]["hostPath"]["path"] == mounts["datadog"] == "/var/run/datadog"
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory" and mounts["shm"] == "/dev/shm"
    # The init container copies the installed tree to where the command is.
    assert files["command"] == ["cp", "-a", "/opt/comfydd/.", f"{mounts['comfydd']}/"]
    assert container["command"] == [f"{mounts['comfydd']}/bin/comfydd-entrypoint"]
    assert {m["name"]: m["mountPath"] for m in files["volumeMounts"]}["comfydd"] == mounts["comfydd"]
