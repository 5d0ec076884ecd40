/* errors: the codes that the fake GPU gives; CUDA's driver, CUDA's runtime, and HIP number these alike. */
#ifndef FAKE_ERRORS_H
#define FAKE_ERRORS_H

enum gpu_error {
    GPU_OK = 0,
    GPU_INVALID_VALUE = 1,
    GPU_OUT_OF_MEMORY = 2,
    GPU_NOT_INITIALIZED = 3,
    GPU_NO_DEVICE = 100,
    GPU_INVALID_DEVICE = 101,
    GPU_INVALID_CONTEXT = 201,
    GPU_NOT_FOUND = 500,
    GPU_ALREADY_REGISTERED = 712,
    GPU_NOT_REGISTERED = 713,
    GPU_CAPTURE_UNSUPPORTED = 900, /* not permitted while a stream is capturing */
    GPU_CAPTURE_INVALIDATED = 901, /* the capture was ended by such a call */
};

#endif
