#include "python/frames_test.h"

#include "python/frames_reader.h"
#include "python/python_api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEEPEST 64 /* frames compared */

/* Names of one, two and four bytes a character, a call over two lines, a generator. */
static const char file[] = "<comfydd: may stacks be read?>";
static const char source[] = "def plain(look):\n"
                             "    return (1,\n"
                             "            look())\n"
                             "\n"
                             "def caf\xc3\xa9(look):\n"
                             "    def \xe6\xbc\xa2(look): yield plain(look)\n"
                             "    return list(\xe6\xbc\xa2(look))\n"
                             "\n"
                             "def \xf0\x90\x8c\xb0(look): return caf\xc3\xa9(look)\n"
                             "\xf0\x90\x8c\xb0(look)\n";
static const struct {
    char function[16];
    int line;
} expected[] = {
    {"plain", 3}, {"\xe6\xbc\xa2", 6}, {"caf\xc3\xa9", 7}, {"\xf0\x90\x8c\xb0", 9}, {"<module>", 10}};
#define EXPECTED (sizeof expected / sizeof *expected)

static bool agreed; /* under the GIL, like everything below */
static char reason[256];

static bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return false;
}

/* Whether an attribute is that text, or (names may be very long) begins with it. */
static bool attribute_is(PyObject *object, const char *name, const char *text) {
    PyObject *value = python_attribute(object, name);
    PyObject *bytes = value ? PyUnicode_AsEncodedString(value, "utf-8", "replace") : NULL;
    char *encoded;
    Py_ssize_t size;
    bool same = bytes && PyBytes_AsStringAndSize(bytes, &encoded, &size) == 0 &&
                (size_t)size >= strlen(text) && memcmp(encoded, text, strlen(text)) == 0;
    PyErr_Clear();
    python_decref(bytes);
    python_decref(value);
    return same;
}

static bool frame_agrees(PyObject *frame, const struct frames_place *place, struct frames_site *site) {
    PyObject *code = frame ? python_attribute(frame, "f_code") : NULL;
    site->file[0] = site->function[0] = '\0';
    site->line = 0;
    bool same = code && (const char *)code == place->code && frames_reader_resolve_carefully(place, site) &&
                python_long_attribute(frame, "f_lasti", -1) == (long)place->offset &&
                python_long_attribute(frame, "f_lineno", 0) == site->line &&
                attribute_is(code, "co_filename", site->file) &&
                attribute_is(code, python_minor < 11 ? "co_name" : "co_qualname", site->function);
    python_decref(code);
    return same;
}

/* Whether this is frame `i` of the source above. Names are qualified: café.<locals>.漢. */
static bool is_expected(size_t i, const struct frames_site *site) {
    const char *dot = strrchr(site->function, '.');
    return strcmp(site->file, file) == 0 && site->line == expected[i].line &&
           strcmp(dot ? dot + 1 : site->function, expected[i].function) == 0;
}

static PyObject *back_of(PyObject *frame) {
    PyObject *back = python_attribute(frame, "f_back");
    python_decref(frame);
    if (!back || !python_is_none(back)) return back;
    python_decref(back);
    return NULL;
}

static bool compare(const struct frames_place *places, size_t count) {
    static struct frames_site site;
    if (count < EXPECTED) return fail("%zu frames instead of %zu or more", count, EXPECTED);
    PyObject *frame = (PyObject *)PyEval_GetFrame(); /* borrowed */
    if (frame) python_newref(frame);
    bool same = true;
    for (size_t i = 0; same && i < count; i++) {
        same = frame_agrees(frame, &places[i], &site) && (i >= EXPECTED || is_expected(i, &site));
        if (!same) fail("frame %zu is not %.90s:%d %.40s", i, site.file, site.line, site.function);
        if (frame) frame = back_of(frame);
    }
    if (same && frame && count < DEEPEST) same = fail("there are more frames than %zu", count);
    python_decref(frame);
    return same;
}

/* The numbers of code objects made one after the other are near each other, and different. */
static bool versions_plausible(const struct frames_place *places) {
    uint32_t versions[EXPECTED];
    for (size_t i = 0; i < EXPECTED; i++) {
        versions[i] = frames_reader_version_carefully(&places[i]);
        if (!versions[i]) return false;
        for (size_t k = 0; k < i; k++)
            if (versions[i] == versions[k] || versions[i] - versions[k] + 32 > 64) return false;
    }
    return true;
}

/* Borrowed: the function below, the only argument of the first of `expected`. */
static PyObject *looking;

static bool locals_agree(const struct frames_place *place) {
    const char *frame = frames_reader_innermost_carefully(place->code);
    return frame && frames_reader_begins_locals_carefully(frame, looking);
}

/* The innermost call of the source above. */
static PyObject *look(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    static struct frames_place held[DEEPEST], released[DEEPEST];
    size_t count = frames_reader_walk_carefully(held, DEEPEST);
    PyThreadState *thread = PyEval_SaveThread();
    size_t count_released = frames_reader_walk_carefully(released, DEEPEST);
    PyEval_RestoreThread(thread);
    agreed = compare(held, count) && compare(released, count_released);
    if (agreed && !versions_plausible(held)) frames_reader_forget_version();
    if (agreed && !locals_agree(held)) frames_reader_forget_locals();
    return python_none();
}

bool frames_test_run(char *why, size_t room) {
    static PyMethodDef method; /* not initialised: an address costs every child process a relocation */
    method = (PyMethodDef){"look", look, METH_NOARGS, NULL};
    agreed = fail("Python code could not be run");
    PyObject *names = PyDict_New(), *function = PyCFunction_NewEx(&method, NULL, NULL);
    looking = function;
    PyObject *code = Py_CompileString(source, file, Py_file_input), *result = NULL;
    if (names && function && code && PyDict_SetItemString(names, "look", function) == 0 &&
        PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) == 0)
        result = PyEval_EvalCode(code, names, names);
    if (!result) python_error_clear();
    python_decref(result);
    python_decref(code);
    python_decref(function);
    python_decref(names);
    if (!agreed) snprintf(why, room, "%s", reason);
    return agreed;
}
