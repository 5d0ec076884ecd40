/* thread: which thread this is: a number that no other thread has while this one lives. pthread_self would be a call. */
#ifndef COMFYDD_THREAD_H
#define COMFYDD_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* The thread pointer, which both processors' ABIs for thread-local storage keep in a register. */
static inline uintptr_t thread_self(void) {
    uintptr_t self;
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(self));
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidr_el0" : "=r"(self));
#else
    self = (uintptr_t)pthread_self();
#endif
    return self;
}

#endif
