/* cuda_abi: the types of CUDA and HIP that the hooked functions pass, as far as we look into them.
 *
 * Declared here and not taken from an SDK: the library is built where there is none, and runs with every version. All have
 * had this shape since the version named; 64-bit only. Sources: cuda.h, driver_types.h (CUDA 13.0), hip_runtime_api.h and
 * driver_types.h (ROCm 6). */
#ifndef COMFYDD_CUDA_ABI_H
#define COMFYDD_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

/* CUresult, cudaError_t, hipError_t: enums, the same numbers for what matters here. */
typedef int cuda_result;
#define CUDA_OK            0
#define CUDA_OUT_OF_MEMORY 2
/* Of all three: what a hook answers when there is no real function behind it. */
#define CUDA_NOT_INITIALIZED 3
#define CUDA_NEWEST_KNOWN    13999 /* the last ABI version of which cuda_api.def knows all there is */
/* In the flags of cuGetProcAddress: the functions whose names end in _ptsz. */
#define CUDA_PER_THREAD_STREAM 2

typedef int cuda_device;       /* CUdevice, hipDevice_t */
typedef void *cuda_context;    /* CUcontext, hipCtx_t */
typedef void *cuda_stream;     /* CUstream, cudaStream_t, hipStream_t */
typedef void *cuda_pool;       /* CUmemoryPool, cudaMemPool_t, hipMemPool_t */
typedef void *cuda_array;      /* CUarray, cudaArray_t, CUmipmappedArray and so on */
typedef uint64_t cuda_pointer; /* CUdeviceptr; hipDeviceptr_t is void * */
typedef uint64_t cuda_handle;  /* CUmemGenericAllocationHandle; HIP's is a pointer */

/* cudaExtent, hipExtent; width in elements of an array, else in bytes. */
struct cuda_extent {
    size_t width, height, depth;
};

/* cudaPitchedPtr, hipPitchedPtr; pitch in bytes. */
struct cuda_pitched {
    void *pointer;
    size_t pitch, xsize, ysize;
};

/* cudaChannelFormatDesc, hipChannelFormatDesc: bits of each channel of an element. */
struct cuda_channels {
    int x, y, z, w;
    int kind;
};

/* CUDA_ARRAY_DESCRIPTOR (3.2), HIP_ARRAY_DESCRIPTOR. */
struct cuda_array_2d {
    size_t width, height;
    int format; /* CUarray_format */
    unsigned channels;
};

/* CUDA_ARRAY3D_DESCRIPTOR (3.2), HIP_ARRAY3D_DESCRIPTOR. */
struct cuda_array_3d {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};

/* In the flags of arrays, CUDA_ARRAY3D_…, cudaArray…. */
#define CUDA_ARRAY_LAYERED  0x01 /* depth counts layers */
#define CUDA_ARRAY_SPARSE   0x40 /* without memory of its own */
#define CUDA_ARRAY_DEFERRED 0x80 /* the same */

/* The beginning of CUmemAllocationProp (10.2), hipMemAllocationProp. */
struct cuda_physical {
    int type, handle_types;
    struct {
        int type; /* CUmemLocationType */
        int id;
    } location;
};
#define CUDA_LOCATION_DEVICE 1

#define CUDA_POOL_RESERVED  5 /* CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: 64 bits */
#define CUDA_POINTER_MEMORY 2 /* CU_POINTER_ATTRIBUTE_MEMORY_TYPE: an unsigned */
#define CUDA_POINTER_DEVICE 9 /* CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: an int */
#define CUDA_MEMORY_OF_HOST 1 /* CU_MEMORYTYPE_HOST */

/* Streams that are always there; the legacy one also as NULL. */
#define CUDA_STREAM_LEGACY     ((cuda_stream)1)
#define CUDA_STREAM_PER_THREAD ((cuda_stream)2)
#define CUDA_NOT_CAPTURING     0 /* CU_STREAM_CAPTURE_STATUS_NONE */

/* c10::Device: two bytes, passed in one register (c10/core/Device.h; since PyTorch 1.0). */
struct c10_device {
    int8_t type, index;
};
#define C10_CUDA 1
#define C10_HIP  6

#endif
