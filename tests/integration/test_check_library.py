"""scripts/check-library finds what a library must not show to the loader, for `make lint` and scripts/release."""

import subprocess

import pytest

from rig.products import REPOSITORY

SOUND = """
__attribute__((constructor)) static void start(void) {}
__attribute__((tls_model("initial-exec"))) static __thread int kept;
__attribute__((visibility("default"))) int *comfydd_start(void) { return &kept; }
"""
FAULTS = {  # source that is added, options of the compiler: what is said
    "an export": ("__attribute__((visibility(\"default\"))) void other(void) {}", [], "exported, not in src/exports.map.in: other"),
    "a library": ("", ["-Wl,--no-as-needed", "-lm"], "needs libm.so.6"),
    "a name of glibc": ("void gnu_get_libc_version(void); void f(void) { gnu_get_libc_version(); }\n", [],
                        "strong, and not in musl: gnu_get_libc_version"),
    "libpthread": ("int pthread_join(); int f(void) { return pthread_join(); }", [], "not in libc before glibc 2.34: pthread_join"),
    "binding at once": ("", ["-Wl,-z,now"], "BIND_NOW"),
    "much thread-local storage": ("__thread char much[65]; char *f(void) { return much; }", ["-ftls-model=initial-exec"],
                                  "bytes of thread-local storage, 64 at most"),
    "thread-local storage by calls": ("__thread int called; int *f(void) { return &called; }", ["-ftls-model=global-dynamic"],
                                      "DTPMOD"),
    "two constructors": ("__attribute__((constructor)) static void again(void) {}", [], "not exactly one constructor"),
}


def check(folder, source, options):
    (folder / "library.c").write_text(SOUND + source)
    (folder / "exports.map").write_text("{\n  global:\n    comfydd_start;\n    other;\n  local:\n    *;\n};\n")
    command = ["cc", "-shared", "-fPIC", "-nostartfiles", "-Wl,-z,lazy", "-Wl,--version-script=exports.map", "-o", "library.so",
               "library.c"]
    subprocess.run([*command, *options], cwd=folder, check=True, timeout=60)
    (folder / "listed.map").write_text("{\n  global:\n    comfydd_start;\n  local:\n    *;\n};\n")
    done = subprocess.run([REPOSITORY / "scripts" / "check-library", "library.so", "listed.map"], cwd=folder, timeout=60,
                          capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_sound_library(tmp_path):
    assert check(tmp_path, "", []) == (0, "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(tmp_path, fault):
    source, options, said = FAULTS[fault]
    code, output = check(tmp_path, source, options)
    assert code == 1 and said in output
