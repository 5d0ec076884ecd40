#include "runtime/binding.h"

#include <dlfcn.h>
#include <pthread.h>

struct driver driver;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cudaError_t bound = cudaErrorInsufficientDriver;
static __thread cudaError_t last_error;
static __thread int chosen_device;

static void bind(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *probe;
    if (!library) return;
    driver.look_up = (__typeof__(driver.look_up))dlsym(library, "cuGetProcAddress_v2");
    if (!driver.look_up) return;
    driver.look_up("", &probe, 0, 0, NULL); /* NVIDIA's does, whatever for */
    driver.look_up("cuGetProcAddress", &probe, 11030, 0, NULL);
    driver.look_up("cuGetProcAddress", &probe, 12000, 0, NULL);
#define FIELD(field, function, name, version, flags)                                                         \
    if (driver.look_up(name, (void **)&driver.field, version, flags, NULL)) return;
#include "runtime/driver.def"
#undef FIELD
    bound = (cudaError_t)driver.init(0);
}

/* The thread's device must have its primary context current before memory is touched. */
static cudaError_t make_current(void) {
    CUcontext context = NULL;
    if (driver.get_current(&context) || context) return cudaSuccess;
    if (driver.retain(&context, chosen_device)) return cudaErrorInvalidDevice;
    return (cudaError_t)driver.set_current(context);
}

cudaError_t binding_enter(struct call_site *site, bool context) {
    cudaError_t error = (cudaError_t)calls_note(site);
    if (!error) {
        pthread_once(&once, bind);
        error = bound;
    }
    if (!error && context) error = make_current();
    if (error) last_error = error;
    return error;
}

cudaError_t binding_done(CUresult result) {
    if (result) last_error = (cudaError_t)result;
    return (cudaError_t)result;
}

cudaError_t binding_last_error(bool clear) {
    cudaError_t error = last_error;
    if (clear) last_error = cudaSuccess;
    return error;
}

int binding_device(void) {
    return chosen_device;
}

cudaError_t binding_choose_device(int device) {
    CUcontext context;
    CUresult error = driver.retain(&context, device);
    if (error) return binding_done(error);
    chosen_device = device;
    return binding_done(driver.set_current(context));
}
