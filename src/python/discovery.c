#include "python/discovery.h"

#include "base/log.h"
#include "python/outer_frames.h"

#include <string.h>

static void (*found_module)(PyObject *module);
static const char *refusal;               /* borrowed; NULL once it has been told */
static PyObject *finder;                  /* owned: our entry of sys.meta_path, for ever */
static __thread PyObject *being_imported; /* borrowed: the module whose exec_module we are inside of */

/* ---- imports by name ---- */

static bool is_execution(const char *name, size_t size) {
    static const char wanted[] = "execution";
    const size_t length = sizeof wanted - 1;
    return size >= length && memcmp(name + size - length, wanted, length) == 0 &&
           (size == length || name[size - length - 1] == '.');
}

/* Stands in for loader.exec_module once: takes itself away, lets the real one run, then looks at the module. */
static PyObject *exec_module(PyObject *loader, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 1) {
        PyErr_BadArgument();
        return NULL;
    }
    PyObject *dictionary = PyObject_GetAttrString(loader, "__dict__");
    PyObject *removed =
        dictionary ? PyObject_CallMethod(dictionary, "pop", "sO", "exec_module", python_none_object) : NULL;
    python_decref(dictionary);
    if (!removed) return NULL;
    Py_DecRef(removed);
    PyObject *outer = being_imported;
    being_imported = arguments[0];
    PyObject *result = PyObject_CallMethod(loader, "exec_module", "O", arguments[0]);
    being_imported = outer;
    if (result) found_module(arguments[0]);
    return result;
}

static PyMethodDef exec_method = {"exec_module", (PyCFunction)(void (*)(void))exec_module, METH_FASTCALL,
                                  NULL};

/* What the other finders say; NULL with an error set when one of them raised. */
static PyObject *ask_the_others(PyObject *const *arguments, Py_ssize_t count) {
    PyObject *path = PySys_GetObject("meta_path"); /* borrowed */
    PyObject *finders = path ? PySequence_List(path) : NULL;
    PyObject *spec = NULL;
    bool raised = !finders;
    for (Py_ssize_t i = 0; !raised && !spec && i < PyList_Size(finders); i++) {
        PyObject *other = PyList_GetItem(finders, i); /* borrowed */
        PyObject *find = other == finder ? NULL : python_attribute(other, "find_spec");
        if (!find) continue;
        spec = PyObject_CallFunctionObjArgs(find, arguments[0], count > 1 ? arguments[1] : python_none_object,
                                            count > 2 ? arguments[2] : python_none_object, NULL);
        Py_DecRef(find);
        raised = !spec;
        if (spec && python_is_none(spec)) {
            Py_DecRef(spec);
            spec = NULL;
        }
    }
    python_decref(finders);
    if (!spec && !raised) return python_none();
    return spec;
}

/* Puts the function above into the loader's own attributes. Loaders that know only the load_module of before 3.4, and
 * those that many modules share (classes: their __dict__ is no dict), are left alone. */
static void put_stand_in(PyObject *loader) {
    PyObject *dictionary = python_attribute(loader, "__dict__");
    PyObject *real = python_attribute(loader, "exec_module");
    if (real && dictionary && python_is_dict(dictionary)) {
        PyObject *stand_in = PyCFunction_NewEx(&exec_method, loader, NULL);
        if (!stand_in || PyDict_SetItemString(dictionary, "exec_module", stand_in) != 0) PyErr_Clear();
        python_decref(stand_in);
    }
    python_decref(real);
    python_decref(dictionary);
}

static __thread bool
    asking; /* find_spec is asking the other finders: one of them may ask all finders itself */

/* find_spec(name, path, target). Stays in sys.meta_path for good: taking it out while another thread walks the list
 * could make that thread skip a finder. */
static PyObject *find_spec(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    (void)self;
    Py_ssize_t size = 0;
    const char *name = count ? PyUnicode_AsUTF8AndSize(arguments[0], &size) : NULL;
    if (!name) PyErr_Clear();
    if (!name || !is_execution(name, (size_t)size) || asking) return python_none();
    asking = true;
    PyObject *spec = ask_the_others(arguments, count);
    asking = false;
    if (!spec || python_is_none(spec)) return spec;
    PyObject *loader = python_attribute(spec, "loader");
    if (loader) put_stand_in(loader);
    python_decref(loader);
    return spec;
}

static PyMethodDef find_method = {"find_spec", (PyCFunction)(void (*)(void))find_spec, METH_FASTCALL, NULL};

static bool install_finder(void) {
    PyObject *path = PySys_GetObject("meta_path"),
             *implementation = PySys_GetObject("implementation"); /* borrowed */
    if (!path || !implementation) return false;
    PyObject *namespace =
        PyObject_Type(implementation); /* types.SimpleNamespace: any object with attributes */
    PyObject *function = PyCFunction_NewEx(&find_method, NULL, NULL);
    if (namespace && function) finder = PyObject_CallObject(namespace, NULL);
    bool installed = finder && PyObject_SetAttrString(finder, "find_spec", function) == 0 &&
                     PyList_Insert(path, 0, finder) == 0;
    python_decref(namespace);
    python_decref(function);
    return installed;
}

/* ---- modules that are there already ---- */

static void look_at_loaded_modules(void) {
    PyObject *modules = PySys_GetObject("modules"); /* borrowed */
    PyObject *names = modules ? PySequence_List(modules) : NULL;
    for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
        char name[256];
        size_t size = python_text(PyList_GetItem(names, i), name, sizeof name);
        if (!is_execution(name, size)) continue;
        PyObject *module = python_item(modules, name);
        if (module && !python_is_none(module)) found_module(module);
        python_decref(module);
    }
    PyErr_Clear();
    python_decref(names);
}

bool discovery_start(void (*found)(PyObject *module)) {
    found_module = found;
    bool installed = install_finder();
    PyErr_Clear();
    if (installed) look_at_loaded_modules();
    return installed;
}

/* ---- modules executed by hand ---- */

bool discovery_is_execution_file(const char *slash) {
    static const char source[] = "/execution.py", compiled[] = "/execution.cpython-3";
    return strcmp(slash, source) == 0 ||
           (strncmp(slash, compiled, sizeof compiled - 1) == 0 && strstr(slash, ".pyc"));
}

/* The `module` of an exec_module. */
static PyObject *module_executed_by(PyFrameObject *frame, PyObject *code) {
    PyObject *name = python_attribute(code, "co_name");
    char text[32];
    python_text(name, text, sizeof text);
    python_decref(name);
    return strcmp(text, "exec_module") == 0 ? outer_frames_variable(frame, "module") : NULL;
}

static __thread PyObject *awaited_module; /* owned, while the profile function below is set on this thread */

/* A C profile function on this one thread, set only while the module's top-level code runs. It tells us the end of that
 * code on every version; sys.monitoring and code swap cannot, because the code object does not exist yet. */
static int on_profile(PyObject *self, PyFrameObject *frame, int what, PyObject *argument) {
    (void)self;
    if (what != PYTHON_TRACE_RETURN || !awaited_module) return 0;
    PyObject *code = python_attribute((PyObject *)frame, "f_code");
    PyObject *name = code ? python_attribute(code, "co_name") : NULL;
    PyObject *globals = python_attribute((PyObject *)frame, "f_globals");
    PyObject *dictionary = python_attribute(awaited_module, "__dict__");
    char text[16];
    python_text(name, text, sizeof text);
    if (strcmp(text, "<module>") == 0 && globals == dictionary) {
        PyObject *module = awaited_module;
        awaited_module = NULL;
        PyEval_SetProfile(NULL, NULL);
        if (argument) found_module(module); /* NULL: the code raised (3.12 says None then too) */
        Py_DecRef(module);
    }
    python_decref(code);
    python_decref(name);
    python_decref(globals);
    python_decref(dictionary);
    return 0;
}

static bool somebody_profiles(void) {
    PyObject *sys = PyImport_ImportModule("sys");
    PyObject *profiler = sys ? PyObject_CallMethod(sys, "getprofile", NULL) : NULL;
    bool busy = !profiler || !python_is_none(profiler);
    python_decref(profiler);
    python_decref(sys);
    PyErr_Clear();
    return busy;
}

void discovery_refuse(const char *why) {
    __atomic_store_n(&refusal, why, __ATOMIC_RELEASE);
}

void discovery_file_opened(void) {
    /* Atomic: where there is no GIL, threads come here together. */
    const char *why_not = __atomic_exchange_n(&refusal, NULL, __ATOMIC_ACQ_REL);
    if (why_not) log_line("if this is ComfyUI, its workflows are not traced: %s", why_not);
    if (!finder) return;
    /* The one whose loader is reading the file on this thread right now. A module that came through the finder is in good
     * hands already and is passed over. */
    PyObject *module = outer_frames_find(module_executed_by, 20);
    PyErr_Clear();
    if (!module) return;
    if (module == being_imported || somebody_profiles()) {
        Py_DecRef(module);
        return;
    }
    PyObject *earlier =
        awaited_module; /* still there: the program's own profile function took the place of ours */
    awaited_module = module;
    PyEval_SetProfile(on_profile, python_none_object);
    python_decref(earlier);
}
