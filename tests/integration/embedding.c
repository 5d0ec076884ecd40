/* A program with CPython inside: runs the Python script of its first argument, with the others as that one's. */
#include <Python.h>

int main(int argc, char **argv) {
    wchar_t *arguments[8];
    int count = 0;
    for (int i = 1; i < argc && count < 8; i++)
        arguments[count++] = Py_DecodeLocale(argv[i], NULL);
    Py_Initialize();
    PySys_SetArgvEx(count, arguments, 1);
    FILE *script = fopen(argv[1], "r");
    int failed = !script || PyRun_SimpleFileEx(script, argv[1], 1) != 0;
    return Py_FinalizeEx() < 0 || failed;
}
