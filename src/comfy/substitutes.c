#include "comfy/substitutes.h"

#include "base/log.h"
#include "python/outer_frames.h"

#include <stdio.h>
#include <string.h>

/* "NAME of FILE"; "something that is no Python function". */
static const char *described(PyObject *function, char *out, size_t room) {
    PyObject *code = python_attribute(function, "__code__");
    PyObject *name = code ? python_attribute(code, "co_name") : NULL;
    PyObject *file = code ? python_attribute(code, "co_filename") : NULL;
    char name_text[128], file_text[512];
    if (python_text(name, name_text, sizeof name_text) && python_text(file, file_text, sizeof file_text))
        snprintf(out, room, "%s of %s", name_text, file_text);
    else
        snprintf(out, room, "something that is no Python function");
    python_decref(code);
    python_decref(name);
    python_decref(file);
    return out;
}

/* What is watched is never freed: a program that makes a function anew for every prompt is not followed for ever. */
static bool watch(PyObject *function, const struct generation *generation,
                  const struct watch_handler *handler, enum watch_needs needs) {
    enum { SUBSTITUTES = 32 };
    static int count;
    if (count == SUBSTITUTES || !watch_anew(function, handler, (void *)generation, needs)) return false;
    count++;
    return true;
}

void substitutes_watch_nodes(const struct watch_call *prompt, const struct generation *generation,
                             const struct watch_handler *handler) {
    PyObject *globals = python_attribute(watch_watched(prompt), "__globals__");
    PyObject *function = python_item(globals, generation->function);
    char text[700];
    if (!function || watch_watches(function)) {
        /* a prompt without nodes */
    } else if (generations_is_node_function(function) &&
               watch(function, generation, handler, generation->raises ? WATCH_EXCEPTIONS : WATCH_RETURNS)) {
        log_once("the nodes of a workflow were not seen: %s executes them, which is watched from the next "
                 "prompt on",
                 described(function, text, sizeof text));
    } else {
        log_once(
            "the nodes of a workflow were not seen: %s executes them, which cannot be watched; workflows are "
            "traced without their nodes",
            described(function, text, sizeof text));
    }
    python_decref(function);
    python_decref(globals);
}

/* Of a frame that is a prompt's method: that, as a function. A frame does not know its function; its class does. */
static PyObject *prompt_method(PyFrameObject *frame, PyObject *code) {
    PyObject *self = outer_frames_variable(frame, "self");
    PyObject *type = self ? PyObject_Type(self) : NULL;
    PyObject *name = python_attribute(code, "co_name");
    char text[128];
    PyObject *method = type && python_text(name, text, sizeof text) ? python_attribute(type, text) : NULL;
    PyObject *of_method = method ? python_attribute(method, "__code__") : NULL;
    bool is_it = of_method == code && generations_is_prompt_method(method);
    python_decref(of_method);
    python_decref(name);
    python_decref(type);
    python_decref(self);
    if (is_it) return method;
    python_decref(method);
    return NULL;
}

void substitutes_watch_prompts(uint64_t prompt_id_hash, const struct generation *generation,
                               const struct watch_handler *handler) {
    enum { WRAPPERS = 10 }; /* between the node's function and the prompt's */
    static uint64_t last;
    static bool looked;
    if (looked && prompt_id_hash == last) return;
    looked = true;
    last = prompt_id_hash;
    PyObject *method = outer_frames_find(prompt_method, WRAPPERS);
    char text[700];
    if (!method) {
        log_once(
            "nodes are executed outside of ComfyUI's own %s, and by what is not known; they are not traced",
            generation->prompt_method);
    } else if (watch_watches(method)) {
        /* one that has been left, while its nodes go on */
    } else if (watch(method, generation, handler, WATCH_EXCEPTIONS)) {
        log_once(
            "prompts are executed by %s instead of ComfyUI's own %s; they are traced from the next prompt on",
            described(method, text, sizeof text), generation->prompt_method);
    } else {
        log_once("prompts are executed by %s instead of ComfyUI's own %s, and that cannot be watched; they "
                 "are not traced",
                 described(method, text, sizeof text), generation->prompt_method);
    }
    python_decref(method);
}
