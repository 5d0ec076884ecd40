#include "python/python_api.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

int python_minor;
PyObject *python_none_object;
static PyObject *int_type;
static const char *refused;

bool python_init(void) {
    const char *version = Py_GetVersion();
    if (strncmp(version, "3.", 2) != 0 || atoi(version + 2) < 9) {
        refused = "this Python is older than 3.9";
        return false;
    }
    /* They have another object header and no GIL to protect our tables. */
    if (strstr(version, "free-threading")) {
        refused = "this Python is a free-threaded build; use one with a GIL";
        return false;
    }
    PyObject *zero = PyLong_FromLong(0);
    if (!zero) return false;
    int_type = PyObject_Type(zero);
    Py_DecRef(zero);
    python_none_object = Py_BuildValue("");
    python_minor = atoi(version + 2);
    return true;
}

const char *python_refused(void) {
    return refused;
}

void python_error_save(struct python_error *saved) {
    PyErr_Fetch(&saved->type, &saved->value, &saved->traceback);
}

void python_error_restore(struct python_error *saved) {
    PyErr_Restore(saved->type, saved->value, saved->traceback); /* also drops an error of our own */
}

PyObject *python_error_exception(struct python_error *saved) {
    if (!saved->type) return NULL;
    PyErr_NormalizeException(&saved->type, &saved->value, &saved->traceback);
    /* Up to 3.11 that waits until an except clause takes the exception. */
    if (saved->value && saved->traceback) PyException_SetTraceback(saved->value, saved->traceback);
    return saved->value;
}

bool python_error_is(const char *builtin) {
    PyObject *type = PyDict_GetItemString(PyEval_GetBuiltins(), builtin); /* borrowed */
    return type && PyErr_ExceptionMatches(type);
}

bool python_error_clear(void) {
    bool interrupted = python_error_is("KeyboardInterrupt");
    PyErr_Clear();
    if (interrupted) PyErr_SetInterrupt();
    return interrupted;
}

/* The str of a name, borrowed; NULL without memory, with an error set. Python's own functions that take C strings make a
 * new str at each call, which is most of what they cost. */
static PyObject *name_object(const char *name) {
    static struct {
        const char *text, *copy; /* the caller's, and the object's own */
        PyObject *object;        /* owned */
    } known[256];
    unsigned place = (uint32_t)((uintptr_t)name * 0x9e3779b1u) >> 24;
    if (known[place].text == name && strcmp(known[place].copy, name) == 0) return known[place].object;
    PyObject *object = PyUnicode_InternFromString(name);
    Py_ssize_t size;
    const char *copy = object ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
    if (!copy) {
        python_decref(object);
        return NULL;
    }
    python_decref(known[place].object);
    known[place].text = name;
    known[place].copy = copy;
    known[place].object = object;
    return object;
}

PyObject *python_attribute(PyObject *object, const char *name) {
    PyObject *key = name_object(name);
    PyObject *value = key ? PyObject_GetAttr(object, key) : NULL;
    if (!value) PyErr_Clear();
    return value;
}

PyObject *python_item(PyObject *dictionary, const char *key) {
    if (!dictionary || !PyDict_Check(dictionary)) return NULL;
    PyObject *name = name_object(key);
    PyObject *value = name ? PyDict_GetItemWithError(dictionary, name) : NULL; /* borrowed */
    if (!value) PyErr_Clear();
    return value ? python_newref(value) : NULL;
}

long python_long_attribute(PyObject *object, const char *name, long otherwise) {
    PyObject *value = python_attribute(object, name);
    long number = value ? PyLong_AsLong(value) : otherwise;
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        number = otherwise;
    }
    python_decref(value);
    return number;
}

bool python_lacks_stderr(void) {
    PyObject *found = PySys_GetObject("__stderr__"); /* borrowed; NULL: it was deleted */
    return found && python_is_none(found);
}

static size_t cut(const char *text, size_t size, char *out, size_t room, uint64_t *hash) {
    if (hash) *hash = hash_bytes(text, size);
    if (size >= room) {
        size = room - 1;
        while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
            size--; /* not in the middle of a character */
    }
    memcpy(out, text, size);
    out[size] = '\0';
    return size;
}

static size_t read_text(PyObject *object, char *out, size_t room, uint64_t *hash) {
    out[0] = '\0';
    if (!object) return 0;
    if (Py_TYPE(object) == (PyTypeObject *)int_type) { /* a subclass could have a __str__ of its own */
        PyObject *digits = PyObject_Str(object);
        size_t size = digits ? read_text(digits, out, room, hash) : 0;
        python_decref(digits);
        PyErr_Clear();
        return size;
    }
    if (!PyUnicode_Check(object)) return 0;
    Py_ssize_t size = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size); /* cached in the object */
    if (text) return cut(text, (size_t)size, out, room, hash);
    PyErr_Clear();
    PyObject *bytes = PyUnicode_AsEncodedString(object, "utf-8", "replace");
    char *encoded = NULL;
    size_t copied = 0;
    if (bytes && PyBytes_AsStringAndSize(bytes, &encoded, &size) == 0)
        copied = cut(encoded, (size_t)size, out, room, hash);
    PyErr_Clear();
    python_decref(bytes);
    return copied;
}

size_t python_text(PyObject *object, char *out, size_t room) {
    return read_text(object, out, room, NULL);
}

size_t python_text_hashed(PyObject *object, char *out, size_t room, uint64_t *hash) {
    *hash = 0;
    return read_text(object, out, room, hash);
}

bool python_text_hash(PyObject *object, uint64_t *hash) {
    char beginning[8]; /* one character of any length: only that there is one matters */
    return python_text_hashed(object, beginning, sizeof beginning, hash) > 0;
}
