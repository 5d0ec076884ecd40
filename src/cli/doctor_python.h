/* doctor_python: what a Python says of itself when the library is preloaded. */
#ifndef COMFYDD_DOCTOR_PYTHON_H
#define COMFYDD_DOCTOR_PYTHON_H

#include <stdbool.h>

struct doctor_python {
    bool answered;     /* it ran, and said what follows */
    char version[32];  /* of Python; empty when unknown */
    bool loaded;       /* the library is mapped */
    bool watches;      /* the library would find a ComfyUI in it */
    char ddtrace[32];  /* version; empty: not installed */
    char problem[512]; /* why there was no answer, or the library's own line; empty: none */
};

/* Runs `python`, found along PATH, with LD_PRELOAD set to `preload`, for at most half a minute. */
struct doctor_python doctor_python_ask(const char *python, const char *preload);

#endif
