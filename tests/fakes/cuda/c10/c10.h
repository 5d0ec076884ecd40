/* The outline of PyTorch's CUDA allocator, as far as an interposer can tell it from the real one: which functions are called
 * in which order, from which library, and what is reported. (PyTorch 2.4 - 2.13: c10/cuda/CUDACachingAllocator.cpp,
 * CUDAMallocAsyncAllocator.cpp.) */
#ifndef FAKE_C10_H
#define FAKE_C10_H

#include <stddef.h>
#include <stdint.h>

/* c10::Device: passed in a register. Type 1 is CUDA. */
struct c10_device {
    int8_t type, index;
};

/* ---- libc10.so ---- */

void c10_report(void *pointer, int64_t size, size_t allocated, size_t reserved,
                struct c10_device device) __asm__("_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE");
void c10_report_oom(int64_t requested, size_t allocated, size_t reserved,
                    struct c10_device device) __asm__("_ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE");

/* How often they have arrived here. */
unsigned long c10_reports_seen(void), c10_ooms_seen(void);

/* ---- libc10_cuda.so; PYTORCH_CUDA_ALLOC_CONF chooses the allocator, as in PyTorch ---- */

/* A tensor's memory on that device; NULL when it is out of memory, for which PyTorch raises. */
void *c10_cuda_allocate(int device, size_t size);
void c10_cuda_free(void *pointer);

/* Gives back to the driver what no tensor uses. */
void c10_cuda_empty_cache(void);

/* torch.cuda.set_per_process_memory_fraction() for the async allocator, in bytes: what is above is refused, after the runtime
 * has been asked how much is free. */
void c10_cuda_set_limit(size_t bytes);

/* torch.cuda.memory_allocated() and memory_reserved(). */
size_t c10_cuda_allocated(int device), c10_cuda_reserved(int device);

#endif
