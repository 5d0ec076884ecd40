#include "python/python_api.h"

#include "base/each_node.h"

#include <stdlib.h>
#include <string.h>

int python_minor;
EACH_NODE PyObject *python_none_object;
EACH_NODE struct python_near python_near;
EACH_NODE PyTypeObject *python_str_type, *python_dict_type, *python_tuple_type;
EACH_NODE static PyTypeObject *int_type;
static const char *refused;

/* That of an object that was made for this: new reference, or NULL. */
static PyTypeObject *type_of(PyObject *object) {
    PyObject *type = object ? PyObject_Type(object) : NULL;
    python_decref(object);
    return (PyTypeObject *)type;
}

/* False when one is missing. */
static bool find_near(python_find *find) {
#define NAME(name) #name,
    static const char *const names[] = {PYTHON_EACH_NODE(NAME)};
#undef NAME
    void *found[sizeof names / sizeof *names];
    _Static_assert(sizeof found == sizeof python_near, "a pointer for each name");
    if (!find(names, found, sizeof names / sizeof *names)) return false;
    memcpy(&python_near, found, sizeof python_near);
    return true;
}

bool python_init(python_find *find) {
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
    if (!find_near(find)) {
        refused = "functions of this Python's API are missing";
        return false;
    }
    int_type = type_of(PyLong_FromLong(0));
    python_str_type = type_of(PyUnicode_FromString(""));
    python_dict_type = type_of(PyDict_New());
    python_tuple_type = type_of(PyTuple_New(0));
    if (!int_type || !python_str_type || !python_dict_type || !python_tuple_type) return false;
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
    if (!dictionary || !python_is_dict(dictionary)) return NULL;
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

const char *python_utf8(PyObject *object, size_t *size, PyObject **made) {
    *made = NULL;
    *size = 0;
    if (!object) return "";
    if (Py_TYPE(object) == int_type) /* a subclass could have a __str__ of its own */
        object = *made = PyObject_Str(object);
    else if (!python_is_str(object))
        return "";
    Py_ssize_t length = 0;
    const char *text = object ? PyUnicode_AsUTF8AndSize(object, &length) : NULL; /* cached in the object */
    if (object && !text) {
        PyErr_Clear();
        PyObject *bytes = PyUnicode_AsEncodedString(object, "utf-8", "replace");
        python_decref(*made);
        *made = bytes;
        char *encoded;
        if (*made && PyBytes_AsStringAndSize(*made, &encoded, &length) == 0) text = encoded;
    }
    if (!text) {
        PyErr_Clear();
        return "";
    }
    *size = (size_t)length;
    return text;
}

size_t python_text(PyObject *object, char *out, size_t room) {
    size_t size;
    PyObject *made;
    const char *text = python_utf8(object, &size, &made);
    if (size >= room) {
        size = room - 1;
        while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
            size--; /* not in the middle of a character */
    }
    memcpy(out, text, size);
    out[size] = '\0';
    python_decref(made);
    return size;
}

bool python_text_hash(PyObject *object, uint64_t *hash) {
    *hash = 0;
    if (!object) return false;
    if (Py_TYPE(object) == python_str_type) {
        *hash = (uint64_t)PyObject_Hash(object);
        return *hash != 0; /* that of the empty one */
    }
    size_t size;
    PyObject *made;
    const char *text = python_utf8(object, &size, &made);
    PyObject *plain = size ? PyUnicode_FromStringAndSize(text, (Py_ssize_t)size) : NULL;
    python_decref(made);
    if (plain) *hash = (uint64_t)PyObject_Hash(plain);
    python_decref(plain);
    PyErr_Clear();
    return *hash != 0;
}
