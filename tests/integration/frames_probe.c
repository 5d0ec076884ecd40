/* frames_probe: src/python/frames.h as a library of its own, for ctypes: CDLL calls it with the GIL released, as PyTorch
 * allocates, PyDLL with the GIL held. */
#include "config.h"
#include "python/frames.h"
#include "python/frames_layout.h"
#include "python/frames_reader.h"
#include "python/frames_test.h"
#include "python/python_api.h"
#include "resolve.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int probe_start(void);
EXPORT int probe_test(void);
EXPORT const char *probe_failure(void);
EXPORT void probe_stop(void);
EXPORT void probe_forked(void);
EXPORT uint32_t probe_capture(void);
EXPORT uint32_t probe_sample(uint64_t size);
EXPORT int probe_frames(uint32_t stack, char *out, size_t room);
EXPORT int probe_text(uint32_t stack, char *out, size_t room);
EXPORT uint32_t probe_call(uint32_t (*function)(void));
EXPORT uint32_t probe_bare_thread(void);
EXPORT int probe_many(int count, int depth);
EXPORT void probe_sample_many(int count, uint64_t size);
EXPORT void probe_forever(void);
EXPORT int probe_wrong_layouts(char *accepted, size_t room);
EXPORT PyObject *probe_subinterpreter(const char *source);

int probe_start(void) {
    if (!python_minor && (!config_load(NULL) || !python_init(resolve_all_first))) return 0;
    return frames_start();
}

int probe_test(void) {
    return frames_test();
}

const char *probe_failure(void) {
    return frames_failure();
}

void probe_stop(void) {
    frames_stop();
}

void probe_forked(void) {
    frames_forked();
}

uint32_t probe_capture(void) {
    errno = ENOTSUP;
    uint32_t stack = frames_capture();
    return errno == ENOTSUP ? stack : UINT32_MAX;
}

uint32_t probe_sample(uint64_t size) {
    return frames_sample(size);
}

/* Rows of file, function and line; returns how many, -1 without room. */
int probe_frames(uint32_t stack, char *out, size_t room) {
    struct frame frames[FRAMES_MAX];
    size_t count = frames_of(stack, frames, FRAMES_MAX), used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(out + used, room - used, "%s\x1f%s\x1f%d\n", frames[i].file,
                                 frames[i].function, frames[i].line);
        if (used >= room) return -1;
    }
    return (int)count;
}

int probe_text(uint32_t stack, char *out, size_t room) {
    return (int)frames_text(stack, out, room);
}

uint32_t probe_call(uint32_t (*function)(void)) {
    return function();
}

static void *capture_there(void *stack) {
    *(uint32_t *)stack = frames_capture();
    return NULL;
}

/* What a thread that Python does not know captures. */
uint32_t probe_bare_thread(void) {
    pthread_t thread;
    uint32_t stack = UINT32_MAX;
    if (pthread_create(&thread, NULL, capture_there, &stack) == 0) pthread_join(thread, NULL);
    return stack;
}

/* How many of so many captures differ from the first, or are not of that depth. */
int probe_many(int count, int depth) {
    uint32_t first = frames_capture();
    struct frame frames[FRAMES_MAX];
    int wrong = 0;
    for (int i = 0; i < count; i++) {
        uint32_t stack = frames_capture();
        wrong += stack != first || frames_of(stack, frames, FRAMES_MAX) != (size_t)depth;
    }
    return wrong;
}

void probe_sample_many(int count, uint64_t size) {
    for (int i = 0; i < count; i++)
        frames_sample(size);
}

/* Until the process is gone. */
void probe_forever(void) {
    for (;;)
        frames_capture();
}

/* Whether the self-test notices a wrong layout: it fails, or, of numbers that are none, has the reader forget them. */
static bool is_noticed(size_t member, PyObject *code) {
    char why[256];
    struct frames_place place = {.code = (const char *)code};
    if (!frames_test_run(why, sizeof why)) return true;
    if (member == offsetof(struct frames_layout, frame_locals)) {
        PyObject *caller = python_attribute((PyObject *)PyEval_GetFrame(), "f_code");
        Py_DecRef(caller); /* it is being executed */
        return !frames_reader_innermost_carefully(caller);
    }
    return member == offsetof(struct frames_layout, code_version) && !frames_reader_version_carefully(&place);
}

/* Runs the self-test with every member of the layout moved by every distance up to 5 words. Writes the members that it did
 * not notice, and returns how many tests there were. */
int probe_wrong_layouts(char *accepted, size_t room) {
#define MEMBER(name)                                                                                         \
    { #name, offsetof(struct frames_layout, name) }
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {
        MEMBER(thread_cframe),        MEMBER(thread_frame),  MEMBER(thread_id),
        MEMBER(frame_previous),       MEMBER(frame_code),    MEMBER(frame_instruction),
        MEMBER(frame_owner),          MEMBER(code_filename), MEMBER(code_name),
        MEMBER(code_lines),           MEMBER(code_bytecode), MEMBER(code_first_line),
        MEMBER(code_first_traceable), MEMBER(text_ascii),    MEMBER(text_compact),
        MEMBER(code_version),         MEMBER(frame_locals),
    };
    struct frames_layout right, moved;
    PyObject *code = Py_CompileString("", "", Py_file_input), *type = PyObject_Type(code);
    int tests = 0;
    accepted[0] = '\0';
    frames_layout_choose(&right, python_minor, dlsym(RTLD_DEFAULT, "_PyRuntime"));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        for (int distance = -40; distance <= 40; distance += distance > -9 && distance < 8 ? 1 : 8) {
            moved = right;
            uint16_t *member = (uint16_t *)((char *)&moved + members[i].offset);
            if (distance == 0 || *member + distance < 0) continue;
            if (member == &moved.code_version && *member == 0) continue; /* there are no numbers */
            if (member == &moved.frame_locals && *member == 0) continue; /* they are not read */
            *member = (uint16_t)(*member + distance);
            frames_reader_init(&moved, type);
            tests++;
            size_t used = strlen(accepted);
            if (!is_noticed(members[i].offset, code))
                snprintf(accepted + used, room - used, "%s %+d\n", members[i].name, distance);
        }
    frames_reader_init(&right, type);
    return tests;
}

static PyObject *capture_method(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return PyLong_FromUnsignedLongLong(frames_capture());
}

/* Runs the source in a new interpreter, where it finds `capture`; returns the ids that it has put into the list `stacks`,
 * at most 8, as a tuple of the calling interpreter. Outside the limited API, but exported by every version. */
extern PyThreadState *Py_NewInterpreter(void);
extern void Py_EndInterpreter(PyThreadState *thread);

PyObject *probe_subinterpreter(const char *source) {
    static PyMethodDef method = {"capture", capture_method, METH_NOARGS, NULL};
    unsigned long long stacks[8];
    Py_ssize_t count = -1;
    PyThreadState *outer = PyThreadState_Get(), *inner = Py_NewInterpreter();
    PyObject *names = PyDict_New(), *found = PyList_New(0);
    PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names, "capture", PyCFunction_NewEx(&method, NULL, NULL));
    PyDict_SetItemString(names, "stacks", found);
    PyObject *result = PyEval_EvalCode(Py_CompileString(source, "inner.py", Py_file_input), names, names);
    if (result)
        for (count = 0; count < PyList_Size(found) && count < 8; count++)
            stacks[count] = PyLong_AsUnsignedLongLong(PyList_GetItem(found, count));
    Py_EndInterpreter(inner);
    PyThreadState_Swap(outer);
    PyObject *ids = PyTuple_New(count < 0 ? 0 : count);
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SetItem(ids, i, PyLong_FromUnsignedLongLong(stacks[i]));
    return ids;
}
