#include "python/frames.h"

#include "base/each_node.h"
#include "base/hash.h"
#include "config.h"
#include "python/frames_reader.h"
#include "python/frames_test.h"
#include "python/python_api.h"
#include "python/stacks.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STOP_MS 100 /* limit for waiting until other threads have finished their captures */

static bool on;                     /* atomic, as are the next three */
static bool stopped;                /* for good */
static bool tested;                 /* what is read is where it is expected */
EACH_NODE static bool locals_known; /* the same, when frames_test was called */
static int captures;                /* being made now, by all threads */
static uint64_t interval;           /* bytes per sampled stack */
static char failure[256] = "not started";

static bool is(const bool *flag) {
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

/* ---- start and stop ---- */

static PyObject *stop_at_exit(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    frames_stop();
    return python_none();
}

/* Python's atexit functions run before any thread state is freed; Py_AtExit and libc's come after that. (Should the program
 * clear them, frames_reader still sees the end, but not while it is reading.) */
static bool register_stop(void) {
    static PyMethodDef method;
    method = (PyMethodDef){"comfydd_frames_stop", stop_at_exit, METH_NOARGS, NULL};
    PyObject *module = PyImport_ImportModule("atexit"), *function = PyCFunction_NewEx(&method, NULL, NULL);
    PyObject *result = module && function ? PyObject_CallMethod(module, "register", "O", function) : NULL;
    bool registered = result != NULL;
    if (!registered) python_error_clear();
    python_decref(result);
    python_decref(function);
    python_decref(module);
    return registered;
}

/* The type of this frame's or that module's code; a reference to PyCode_Type would cost every child process a lookup. */
static PyObject *code_type(void) {
    PyObject *code = Py_CompileString("", "", Py_file_input);
    PyObject *type = code ? PyObject_Type(code) : NULL;
    if (!code) python_error_clear();
    python_decref(code);
    return type;
}

/* Why stacks cannot be read by this thread; NULL: the self-test has found everything where it is expected. */
static const char *test(void) {
    static PyObject *type; /* owned for ever */
    static char found[sizeof failure];
    struct frames_layout layout;
    if (tested) return NULL;
    const char *why = frames_layout_choose(&layout, python_minor, dlsym(RTLD_DEFAULT, "_PyRuntime"));
    if (why) return why;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) return "a subinterpreter";
    if (PyGILState_GetThisThreadState() != PyThreadState_Get()) return "a thread of an unknown kind";
    if (!type) type = code_type();
    if (!type) return "no memory";
    frames_reader_init(&layout, type);
    if (!frames_test_run(found, sizeof found)) return found;
    tested = true;
    return NULL;
}

static const char *prepare(void) {
    const char *why = test();
    if (why) return why;
    if (!stacks_init()) return "no memory";
    return register_stop() ? NULL : "Python's exit cannot be watched";
}

static bool starting; /* the self-test lets go of the GIL */

/* What `what` says, run once at a time, with the program's error and errno put aside. */
static const char *aside(const char *(*what)(void)) {
    starting = true;
    int saved_errno = errno;
    struct python_error error;
    python_error_save(&error);
    const char *why = what();
    python_error_restore(&error);
    errno = saved_errno;
    starting = false;
    return why;
}

bool frames_test(void) {
    static bool asked;
    if (!asked) {
        asked = true;
        locals_known = !starting && !aside(test);
    }
    return locals_known;
}

bool frames_start(void) {
    if (starting || is(&on) || is(&stopped)) return is(&on);
    const char *why = aside(prepare);
    snprintf(failure, sizeof failure, "%s", why ? why : "");
    __atomic_store_n(&interval, (uint64_t)config()->stack_sample_bytes, __ATOMIC_RELAXED);
    if (!why && !is(&stopped)) __atomic_store_n(&on, true, __ATOMIC_SEQ_CST);
    return is(&on);
}

const char *frames_failure(void) {
    return failure;
}

void frames_stop(void) {
    int saved_errno = errno;
    __atomic_store_n(&stopped, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&on, false, __ATOMIC_SEQ_CST);
    for (int ms = 0; __atomic_load_n(&captures, __ATOMIC_SEQ_CST) > 0 && ms < STOP_MS; ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    errno = saved_errno;
}

void frames_forked(void) {
    __atomic_store_n(&captures, 0, __ATOMIC_RELAXED); /* those of threads that are not here */
}

/* ---- locals ---- */

const void *frames_innermost(PyObject *code) {
    return locals_known ? frames_reader_innermost(code) : NULL;
}

PyObject *frames_local(const void *frame, int number) {
    return (PyObject *)frames_reader_local(frame, number);
}

/* ---- capture ---- */

static uint32_t site_of(const struct frames_place *place) {
    uint64_t key = frames_reader_key(place, 1);
    uint32_t id = stacks_known_site(key);
    if (id) return id;
    struct frames_site site;
    if (!frames_reader_resolve(place, &site)) return 0;
    return stacks_add_site(key, site.file, site.function, site.line);
}

static uint32_t add_stack(uint64_t key, const struct frames_place *places, size_t count) {
    uint32_t sites[FRAMES_MAX];
    for (size_t i = 0; i < count; i++)
        if (!(sites[i] = site_of(&places[i]))) return 0;
    return stacks_add(key, sites, count);
}

static uint32_t capture(void) {
    struct frames_place places[FRAMES_MAX];
    size_t count = frames_reader_walk(places, FRAMES_MAX);
    if (!count) return 0;
    uint64_t key = frames_reader_key(places, count);
    uint32_t id = stacks_known(key);
    return id ? id : add_stack(key, places, count);
}

uint32_t frames_capture(void) {
    if (!is(&on)) return 0;
    __atomic_add_fetch(&captures, 1, __ATOMIC_SEQ_CST);
    /* Again: frames_stop, too, first writes the one and then reads the other, so one of the two sees the other. */
    uint32_t id = is(&on) ? capture() : 0;
    __atomic_sub_fetch(&captures, 1, __ATOMIC_RELEASE);
    return id;
}

/* ---- sampling ---- */

static __thread int64_t until_sample; /* bytes; 0: nothing allocated on this thread yet */

/* Around `interval`, and not the same each time: programs allocate in a rhythm. */
static __attribute__((noinline)) int64_t draw(void) {
    static uint64_t drawn;
    uint64_t number = __atomic_add_fetch(&drawn, 1, __ATOMIC_RELAXED);
    return 1 + (int64_t)(hash_mix(number, 0, number) % (2 * __atomic_load_n(&interval, __ATOMIC_RELAXED)));
}

uint32_t frames_sample(uint64_t size) {
    if (size >= __atomic_load_n(&interval, __ATOMIC_RELAXED)) return frames_capture();
    if (!until_sample) until_sample = draw();
    until_sample -= (int64_t)size;
    if (until_sample > 0) return 0;
    until_sample += draw();
    return frames_capture();
}

/* ---- ids ---- */

size_t frames_of(uint32_t stack, struct frame *out, size_t room) {
    return stack ? stacks_get(stack, out, room) : 0;
}

/* What tells a file from others: its path within site-packages, or its last three parts. */
static const char *short_path(const char *path) {
    static const char packages[] = "-packages/"; /* Debian's are dist-packages */
    const char *found = strstr(path, packages);
    if (found) return found + sizeof packages - 1;
    int parts = 0;
    for (const char *at = path + strlen(path); at > path; at--)
        if (at[-1] == '/' && ++parts == 3) return at;
    return path;
}

size_t frames_text(uint32_t stack, char *out, size_t room) {
    static const char more[] = "...";
    struct frame frames[FRAMES_MAX];
    size_t count = frames_of(stack, frames, FRAMES_MAX), used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t reserved = i + 1 < count ? sizeof more : 0; /* for "\n...", should the next line not fit */
        size_t left = room - used;
        int size = snprintf(out + used, left, "%s%s:%d %s", i ? "\n" : "", short_path(frames[i].file),
                            frames[i].line, frames[i].function);
        if (size < 0 || (size_t)size + reserved >= left)
            return used + (size_t)snprintf(out + used, left, "%s%s", i ? "\n" : "", more);
        used += (size_t)size;
    }
    return used;
}
