#include "python/exc_stack.h"

#include "base/peek.h"
#include "python/python_api.h"

#include <errno.h>

/* Of the thread state, the first and the last level of the stack; of a level (_PyErr_StackItem), the one around it, and the
 * exception. Its first word is NULL or None where nothing is handled. Words. */
struct layout {
    unsigned char first, last, around, value;
};
static const struct layout layouts[] = {[9] = {18, 14, 3, 1}, [10] = {18, 14, 3, 1}, [11] = {15, 40, 1, 0}};
enum { DEEPEST = 100, WORDS = 4 }; /* levels that the test follows; of a level, at most */

static const struct layout *layout; /* NULL: not known */

static void **first_level(void) {
    return (void **)PyThreadState_Get() + layout->first;
}

static bool handles_nothing(void *const *level) {
    return !level[0] || python_is_none(level[0]);
}

/* ---- the test ---- */

/* The levels lead to the one in the thread state. */
static bool leads_to_the_last(void *const *level, void *const *last) {
    void *around = NULL;
    for (int i = 0; i < DEEPEST; i++) {
        if (!peek(&around, level + layout->around, sizeof around)) return false;
        if (level == last || !around) break;
        level = around;
    }
    return level == last && !around;
}

/* PyErr_SetExcInfo writes into the first level. */
static bool holds_what_is_handled(void *const *level) {
    void *before[WORDS], *words[WORDS];
    PyObject *type = PyDict_GetItemString(PyEval_GetBuiltins(), "Exception"); /* borrowed */
    PyObject *probe = type ? PyObject_CallObject(type, NULL) : NULL;
    size_t size = (layout->around + 1u) * sizeof *before;
    if (!probe || !peek(before, level, size)) {
        python_decref(probe);
        return false;
    }
    PyObject *handled[3];
    PyErr_GetExcInfo(&handled[0], &handled[1], &handled[2]);
    PyErr_SetExcInfo(python_newref(type), python_newref(probe), NULL);
    bool holds = peek(words, level, size) && words[layout->value] == probe;
    if (holds && handles_nothing(before)) /* those are of a level further out */
        for (int i = 0; i < 3; i++) {
            python_decref(handled[i]);
            handled[i] = NULL;
        }
    PyErr_SetExcInfo(handled[0], handled[1], handled[2]); /* takes them over */
    Py_DecRef(probe);
    return holds;
}

static bool test(void) {
    void **thread = (void **)PyThreadState_Get(), **first;
    return peek(&first, thread + layout->first, sizeof first) &&
           leads_to_the_last(first, thread + layout->last) && holds_what_is_handled(first);
}

bool exc_stack_init(void) {
    static bool tried;
    if (!tried && python_minor < (int)(sizeof layouts / sizeof *layouts)) {
        int saved_errno = errno;
        layout = &layouts[python_minor];
        if (!test()) layout = NULL;
        PyErr_Clear();
        errno = saved_errno;
    }
    tried = true;
    return layout != NULL;
}

/* ---- leaving out ---- */

void *exc_stack_leave_out(void) {
    if (!layout) return NULL;
    void **first = first_level();
    void **level = *first;
    if (!handles_nothing(level) || !level[layout->around]) return NULL;
    *first = level[layout->around];
    return level;
}

void exc_stack_put_back(void *level) {
    if (level) *first_level() = level;
}
