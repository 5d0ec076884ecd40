/* Asks for the driver's functions as comfy-aimdo does; only its file name matters. */
#include <dlfcn.h>
#include <stdint.h>

static int (*get_address)(const char *, void **, int, uint64_t);

static int ask(const char *name, void **out, int version, uint64_t flags) {
    int code = get_address(name, out, version, flags);
    return code; /* not a tail call: it is this library that asks */
}

static int ask_with_status(const char *name, void **out, int version, uint64_t flags, int *status) {
    int code = get_address(name, out, version, flags);
    if (status) *status = code;
    return code;
}

void *aimdo_look_up(void *handle, const char *name);
void *aimdo_look_up(void *handle, const char *name) {
    void *found = dlsym(handle, name);
    if (!__builtin_strcmp(name, "cuGetProcAddress")) {
        *(void **)&get_address = found;
        return (void *)ask;
    }
    return __builtin_strcmp(name, "cuGetProcAddress_v2") ? found : (void *)ask_with_status;
}
