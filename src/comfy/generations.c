#include "comfy/generations.h"

#include <string.h>

/* Newest first: the first row whose function, parameter and method are all there is taken. */
static const struct generation generations[] = {
    /* hiddenswitch: an outer execute(node_id) wraps _execute(current_item), whose body is upstream's */
    {.name = "hiddenswitch", .function = "_execute", .prompt_method = "execute_async"},
    /* 2026, seen at 04e2a914 (0.36 - 0.40) */
    {.name = "A3", .function = "execute", .parameter = "asset_manager", .prompt_method = "execute_async"},
    /* 2025-10-30, 513b0c46 (0.3.68) */
    {.name = "A2", .function = "execute", .parameter = "ui_outputs", .prompt_method = "execute_async"},
    /* 2025-07-10, 2b653e8c (0.3.45): coroutines */
    {.name = "A1",
     .function = "execute",
     .parameter = "pending_async_nodes",
     .prompt_method = "execute_async"},
    /* 2024-08-15, 5cfe38f4: execution model inversion */
    {.name = "X1", .function = "execute", .parameter = "execution_list", .prompt_method = "execute"},
    /* 2023-06-29, 6e9f2840 */
    {.name = "R4",
     .function = "recursive_execute",
     .parameter = "object_storage",
     .prompt_method = "execute",
     .recursive = true},
    /* 2023-05-25, ffec8152: (ok, details, exception) is returned instead of raised */
    {.name = "R3",
     .function = "recursive_execute",
     .parameter = "prompt_id",
     .method = "handle_execution_error",
     .prompt_method = "execute",
     .recursive = true},
    /* 2023-05-13, 44f9f9ba */
    {.name = "R2",
     .function = "recursive_execute",
     .parameter = "prompt_id",
     .prompt_method = "execute",
     .recursive = true,
     .raises = true},
    /* 2023-04-23, 0ac319fd */
    {.name = "R1",
     .function = "recursive_execute",
     .parameter = "executed",
     .prompt_method = "execute",
     .recursive = true,
     .raises = true},
    /* 2023-02-27, 49d2e5bb: a file of its own (before, in main.py, it is not found) */
    {.name = "R0",
     .function = "recursive_execute",
     .prompt_method = "execute",
     .recursive = true,
     .raises = true},
};

/* owner.name, followed through functools.wraps to the function that was written: custom nodes wrap the executor, and
 * the original still runs underneath. New reference; NULL when it is no Python function. */
static PyObject *original_function(PyObject *owner, const char *name) {
    PyObject *function = python_attribute(owner, name);
    for (int depth = 0; function && depth < 16; depth++) {
        PyObject *wrapped = python_attribute(function, "__wrapped__");
        if (!wrapped) break;
        Py_DecRef(function);
        function = wrapped;
    }
    PyObject *code = function ? python_attribute(function, "__code__") : NULL;
    if (!code) {
        python_decref(function);
        return NULL;
    }
    Py_DecRef(code);
    return function;
}

static bool has_parameter(PyObject *function, const char *wanted, int at) {
    PyObject *code = python_attribute(function, "__code__");
    PyObject *names = code ? python_attribute(code, "co_varnames") : NULL;
    long count = code ? python_long_attribute(code, "co_argcount", 0) : 0;
    bool found = false;
    for (long i = 0; names && i < count && !found; i++) {
        char name[128];
        PyObject *item = PySequence_GetItem(names, i);
        python_text(item, name, sizeof name);
        python_decref(item);
        found = strcmp(name, wanted) == 0 && (at < 0 || i == at);
    }
    PyErr_Clear();
    python_decref(code);
    python_decref(names);
    return found;
}

static bool has_method(PyObject *executor, const char *name) {
    PyObject *method = python_attribute(executor, name);
    python_decref(method);
    return method != NULL;
}

bool generations_is_node_function(PyObject *function) {
    return has_parameter(function, "server", 0) && has_parameter(function, "current_item", -1);
}

bool generations_is_prompt_method(PyObject *function) {
    return has_parameter(function, "self", 0) && has_parameter(function, "extra_data", -1);
}

static bool fits(const struct generation *generation, PyObject *module, PyObject *executor,
                 struct generation_match *match) {
    PyObject *node = original_function(module, generation->function);
    PyObject *prompt = original_function(executor, generation->prompt_method);
    if (node && prompt && generations_is_node_function(node) && generations_is_prompt_method(prompt) &&
        (!*generation->parameter || has_parameter(node, generation->parameter, -1)) &&
        (!*generation->method || has_method(executor, generation->method))) {
        *match = (struct generation_match){generation, node, prompt};
        return true;
    }
    python_decref(node);
    python_decref(prompt);
    return false;
}

enum generation_verdict generations_match(PyObject *module, struct generation_match *match) {
    PyObject *executor = python_attribute(module, "PromptExecutor");
    if (!executor) return GENERATION_NONE;
    enum generation_verdict verdict = GENERATION_UNKNOWN;
    for (size_t i = 0; i < sizeof generations / sizeof *generations && verdict == GENERATION_UNKNOWN; i++)
        if (fits(&generations[i], module, executor, match)) verdict = GENERATION_FOUND;
    Py_DecRef(executor);
    return verdict;
}
