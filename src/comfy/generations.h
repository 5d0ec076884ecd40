/* generations: what the executors of the different ComfyUI versions look like, as data.
 *
 * A row names the function that executes one node, what tells it from its neighbours, and how its arguments and results
 * are read. Arguments are read by name, so a version that only adds parameters needs no row of its own: it matches the
 * newest row whose marks it has. Sources: Comfy-Org/ComfyUI execution.py at the commits in generations.c, and
 * hiddenswitch/ComfyUI comfy/cmd/execution.py. */
#ifndef COMFYDD_GENERATIONS_H
#define COMFYDD_GENERATIONS_H

#include "python/python_api.h"

#include <stdbool.h>

struct generation { /* arrays, not pointers: see struct setting; an empty text stands for none */
    char name[16];
    char function[24];      /* module-level function that executes one node; first parameter `server` */
    char parameter[24];     /* a parameter that came with this generation */
    char method[24];        /* a PromptExecutor method that came with it */
    char prompt_method[16]; /* the PromptExecutor method whose call is one workflow */
    /* A node's call contains those of its inputs; `outputs` and `prompt` are dicts by node id. */
    bool recursive;
    bool raises; /* node errors leave the function as exceptions (the result is looked at too) */
};

/* What of a module is to be watched. */
struct generation_match {
    const struct generation *generation;
    PyObject *node_function;   /* new reference: the function object under all wrappers */
    PyObject *prompt_function; /* new reference */
};

enum generation_verdict {
    GENERATION_FOUND,
    GENERATION_NONE,    /* not a ComfyUI executor: no PromptExecutor in the module */
    GENERATION_UNKNOWN, /* has a PromptExecutor, but no node function of a known shape */
};

/* Looks at a module (after its top-level code has run). No error is left set. */
enum generation_verdict generations_match(PyObject *module, struct generation_match *match);

/* Whether a function takes what is read of a node's call, or a method what is read of a prompt's. */
bool generations_is_node_function(PyObject *function);
bool generations_is_prompt_method(PyObject *function);

#endif
