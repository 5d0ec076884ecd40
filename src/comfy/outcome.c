#include "comfy/outcome.h"

#include "base/each_node.h"

#include <string.h>

static bool is_same_node(PyObject *details, const struct node *node) {
    PyObject *failed = python_item(details, "node_id");
    uint64_t hash;
    bool same = !failed || (python_text_hash(failed, &hash) && hash == node->hash);
    python_decref(failed);
    return same;
}

static void set_failure(struct outcome *outcome, PyObject *exception, PyObject *details) {
    outcome->failure = failure_read(exception, details);
    outcome->result = outcome->failure.interrupted ? NODE_INTERRUPTED : NODE_FAILURE;
}

static enum node_result result_of(PyObject *result) {
    EACH_NODE static PyObject *success; /* owned: the Enum member that most calls return */
    if (result == success) return NODE_SUCCESS;
    PyObject *name = python_attribute(result, "_name_"); /* a member's own attribute; .name may run code */
    char text[32];
    python_text(name, text, sizeof text);
    python_decref(name);
    if (strcmp(text, "FAILURE") == 0) return NODE_FAILURE;
    if (strcmp(text, "PENDING") == 0) return NODE_PENDING;
    if (strcmp(text, "SUCCESS") == 0) {
        python_decref(success);
        success = python_newref(result);
    }
    return NODE_SUCCESS;
}

static void init(struct outcome *outcome, enum node_result result) {
    outcome->result = result;
    outcome->elsewhere = false;
    failure_init(&outcome->failure);
}

void outcome_returned(struct outcome *outcome, const struct generation *generation, const struct node *node,
                      PyObject *value) {
    init(outcome, NODE_SUCCESS);
    if (!python_is_tuple(value) || PyTuple_Size(value) < 3) return;
    PyObject *result = PyTuple_GetItem(value, 0); /* borrowed, as the others */
    bool failed;
    if (generation->recursive) {
        failed = PyObject_IsTrue(result) == 0; /* a bool */
        PyErr_Clear();
        if (failed) outcome->result = NODE_FAILURE;
    } else {
        outcome->result = result_of(result);
        failed = outcome->result == NODE_FAILURE;
    }
    if (!failed) return;
    PyObject *details = PyTuple_GetItem(value, 1);
    outcome->elsewhere = generation->recursive && !is_same_node(details, node);
    if (!outcome->elsewhere) set_failure(outcome, PyTuple_GetItem(value, 2), details);
}

void outcome_raised(struct outcome *outcome, const struct workflow *workflow, PyObject *exception) {
    init(outcome, NODE_INTERRUPTED);
    outcome->elsewhere = workflow->failure.type[0] || workflow->failure.interrupted;
    if (!outcome->elsewhere && exception) set_failure(outcome, exception, NULL);
}
