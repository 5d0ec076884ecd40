/* python_api: CPython's C API as this library may use it: every function weak or looked up, one binary for 3.9 - 3.15.
 *
 * Declarations come from Python.h with the limited API of 3.9. In a process that is no Python all of them are NULL, and
 * nothing here may be called: gate.c decides. Functions newer than 3.9, or outside the limited API, are declared at
 * the end by hand, with the version that brought them: compare python_minor before use. (Taking a function's address, to
 * test it for NULL, would cost every child process a symbol lookup at its start.)
 *
 * Reference counts are changed by function calls only (python_decref): the inline macros of Python.h touch the object
 * header, whose layout is not the same in all builds. Differences between Python versions live in this file and
 * python_api.c, nowhere else. */
#ifndef COMFYDD_PYTHON_API_H
#define COMFYDD_PYTHON_API_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer headers make it a macro over PyCMethod_New. */
#undef PyCFunction_NewEx

#pragma weak PyCapsule_GetPointer
#pragma weak PyCapsule_New
#pragma weak PyCFunction_NewEx
#pragma weak PyCallable_Check
#pragma weak PyDict_GetItemString
#pragma weak PyDict_New
#pragma weak PyDict_Next
#pragma weak PyDict_SetItemString
#pragma weak PyErr_BadArgument
#pragma weak PyErr_Clear
#pragma weak PyErr_ExceptionMatches
#pragma weak PyErr_Fetch
#pragma weak PyErr_GetExcInfo
#pragma weak PyErr_NormalizeException
#pragma weak PyErr_Occurred
#pragma weak PyErr_Restore
#pragma weak PyErr_SetExcInfo
#pragma weak PyErr_SetInterrupt
#pragma weak PyErr_SetString
#pragma weak PyEval_EvalCode
#pragma weak PyEval_GetBuiltins
#pragma weak PyEval_GetFrame
#pragma weak PyEval_RestoreThread
#pragma weak PyEval_SaveThread
#pragma weak PyException_SetTraceback
#pragma weak PyFloat_AsDouble
#pragma weak PyGILState_Ensure
#pragma weak PyGILState_GetThisThreadState
#pragma weak PyGILState_Release
#pragma weak PyImport_GetModule
#pragma weak PyImport_ImportModule
#pragma weak PyInterpreterState_Get
#pragma weak PyList_Append
#pragma weak PyList_GetItem
#pragma weak PyList_Insert
#pragma weak PyList_Size
#pragma weak PyList_SetItem
#pragma weak PyLong_AsLong
#pragma weak PyLong_AsLongLong
#pragma weak PyLong_AsUnsignedLongLong
#pragma weak PyLong_AsUnsignedLongLongMask
#pragma weak PyLong_FromLong
#pragma weak PyLong_FromUnsignedLongLong
#pragma weak PyNumber_Lshift
#pragma weak PyNumber_Or
#pragma weak PyNumber_Rshift
#pragma weak PyObject_Call
#pragma weak PyObject_CallFunctionObjArgs
#pragma weak PyObject_CallMethod
#pragma weak PyObject_CallMethodObjArgs
#pragma weak PyObject_CallObject
#pragma weak PyObject_GC_Del
#pragma weak PyObject_GC_UnTrack
#pragma weak PyObject_GetAttr
#pragma weak PyObject_GetAttrString
#pragma weak PyObject_GetIter
#pragma weak PyObject_IsTrue
#pragma weak PyObject_SetAttrString
#pragma weak PyObject_Str
#pragma weak PyObject_Type
#pragma weak PySequence_Contains
#pragma weak PySequence_GetItem
#pragma weak PySequence_List
#pragma weak PySequence_SetItem
#pragma weak PySequence_Size
#pragma weak PySequence_Tuple
#pragma weak PySys_GetObject
#pragma weak PyThreadState_GetInterpreter
#pragma weak PyTuple_New
#pragma weak PyTuple_SetItem
#pragma weak PyType_FromSpec
#pragma weak PyType_GenericAlloc
#pragma weak PyType_GetFlags
#pragma weak PyUnicode_AsEncodedString
#pragma weak PyUnicode_FromString
#pragma weak PyUnicode_FromStringAndSize
#pragma weak PyUnicode_InternFromString
#pragma weak PyBytes_AsStringAndSize
#pragma weak Py_AddPendingCall
#pragma weak Py_AtExit
#pragma weak Py_BuildValue
#pragma weak Py_CompileString
#pragma weak Py_GetRecursionLimit
#pragma weak Py_GetVersion
#pragma weak Py_IsInitialized
#pragma weak Py_SetRecursionLimit

/* Outside the limited API, but exported by every version from 3.9 on. */
extern PyInterpreterState *PyInterpreterState_Main(void) __attribute__((weak));
extern PyInterpreterState *PyInterpreterState_Head(void) __attribute__((weak)); /* the newest one */
extern PyObject *PyCell_Get(PyObject *cell);                                    /* SystemError for no cell */
typedef int (*python_trace_function)(PyObject *self, PyFrameObject *frame, int what, PyObject *argument);
extern void PyEval_SetProfile(python_trace_function function, PyObject *argument) __attribute__((weak));
#define PYTHON_TRACE_EXCEPTION 1
#define PYTHON_TRACE_RETURN    3

/* In the limited API from 3.10 on, exported before. */
extern const char *PyUnicode_AsUTF8AndSize(PyObject *unicode, Py_ssize_t *size);

/* In the limited API from 3.10 on; the value is the same since 3.7. */
#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif

/* From 3.12 on. New reference; NameError when the variable is unbound. */
extern PyObject *PyFrame_GetVar(PyFrameObject *frame, PyObject *name) __attribute__((weak));

/* The one up to 3.12, the other from 3.13 on. */
extern int _Py_IsFinalizing(void) __attribute__((weak));
extern int Py_IsFinalizing(void) __attribute__((weak));

/* What every node asks of Python is called through pointers that lie together, set by python_init. The loader's way to each
 * such function would be two cache lines of its own, which ComfyUI has driven out since the last node. */
#define PYTHON_EACH_NODE(X)                                                                                  \
    X(PyCell_Get)                                                                                            \
    X(PyDict_GetItemWithError)                                                                               \
    X(PyDict_Size)                                                                                           \
    X(PyObject_Hash)                                                                                         \
    X(PySet_Contains)                                                                                        \
    X(PyThreadState_Get)                                                                                     \
    X(PyTuple_GetItem)                                                                                       \
    X(PyTuple_Size)                                                                                          \
    X(PyUnicode_AsUTF8AndSize)                                                                               \
    X(Py_DecRef)                                                                                             \
    X(Py_IncRef)
extern struct python_near {
#define MEMBER(name) __typeof__(name) *name;
    PYTHON_EACH_NODE(MEMBER)
#undef MEMBER
} python_near;
#define PyCell_Get              python_near.PyCell_Get
#define PyDict_GetItemWithError python_near.PyDict_GetItemWithError
#define PyDict_Size             python_near.PyDict_Size
#define PyObject_Hash           python_near.PyObject_Hash
#define PySet_Contains          python_near.PySet_Contains
#define PyThreadState_Get       python_near.PyThreadState_Get
#define PyTuple_GetItem         python_near.PyTuple_GetItem
#define PyTuple_Size            python_near.PyTuple_Size
#define PyUnicode_AsUTF8AndSize python_near.PyUnicode_AsUTF8AndSize
#define Py_DecRef               python_near.Py_DecRef
#define Py_IncRef               python_near.Py_IncRef

/* The running interpreter's minor version (9 for 3.9), 0 before python_init. */
extern int python_minor;

/* None, borrowed; NULL before python_init. Not by its symbol: every child process would look that up. */
extern PyObject *python_none_object;

/* The types of the commonest objects, to be compared with before Python is asked, which takes a call. NULL before
 * python_init. */
extern PyTypeObject *python_str_type, *python_dict_type, *python_tuple_type;

/* Finds functions by their names, as resolve_all_first does. */
typedef bool python_find(const char *const names[], void *found[], size_t count);

/* Reads the version, and finds what is called through pointers. True when this Python is one we support: CPython 3.9 or
 * newer, with a GIL. Needs the GIL, in an interpreter that can make objects; may leave an error set when false. */
bool python_init(python_find *find);

/* Why python_init has refused this Python, for the log; NULL when it has not, or there is nothing to be said. */
const char *python_refused(void);

/* Whether Py_Finalize has begun to take the interpreter apart. Any thread, without the GIL. */
static inline bool python_finalizing(void) {
    return python_minor < 13 ? _Py_IsFinalizing() : Py_IsFinalizing();
}

static inline void python_decref(PyObject *object) {
    if (object) Py_DecRef(object);
}

static inline PyObject *python_newref(PyObject *object) {
    Py_IncRef(object);
    return object;
}

static inline PyObject *python_none(void) {
    return python_newref(python_none_object);
}

static inline bool python_is_none(const PyObject *object) {
    return object == python_none_object;
}

static inline bool python_is_str(PyObject *object) {
    return Py_TYPE(object) == python_str_type || PyUnicode_Check(object);
}

static inline bool python_is_dict(PyObject *object) {
    return Py_TYPE(object) == python_dict_type || PyDict_Check(object);
}

static inline bool python_is_tuple(PyObject *object) {
    return Py_TYPE(object) == python_tuple_type || PyTuple_Check(object);
}

/* The error indicator of the host, set aside around our own calls. */
struct python_error {
    PyObject *type, *value, *traceback;
};
void python_error_save(struct python_error *saved);
void python_error_restore(struct python_error *saved);

/* The exception object of a saved error, made complete (its traceback attached); borrowed. NULL without an error. */
PyObject *python_error_exception(struct python_error *saved);

/* Whether the error that is set is of this built-in class. */
bool python_error_is(const char *builtin);

/* Clears an error of our own. Ctrl-C that happened to arrive in Python code of ours is the program's: it goes back to
 * where the program will notice it, and the result is true. */
bool python_error_clear(void);

/* Attribute or dictionary item; new reference, NULL when absent; never leaves an error set. */
PyObject *python_attribute(PyObject *object, const char *name);
PyObject *python_item(PyObject *dictionary, const char *key);

/* Whether Python found no stderr when it started: sys.__stderr__ is None then. */
bool python_lacks_stderr(void);

/* Copies the text of a str (or the decimal digits of an exact int) into `out`, cut to room - 1 bytes, always terminated.
 * Lone surrogates become "?". Returns the length; 0 also for other types. No Python code runs. */
size_t python_text(PyObject *object, char *out, size_t room);

/* The same text, whole and not copied: terminated, stays while `object` and *made do. *made is owned: NULL, or an object made
 * for it. Without a text "", and *size is 0. */
const char *python_utf8(PyObject *object, size_t *size, PyObject **made);

/* A hash of the whole text, Python's own, which a str has at hand; of this process only. False, with *hash 0, for what has no
 * text. */
bool python_text_hash(PyObject *object, uint64_t *hash);

/* The attribute as a number; `otherwise` when it is absent or none. */
long python_long_attribute(PyObject *object, const char *name, long otherwise);

#endif
