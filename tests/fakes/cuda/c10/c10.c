/* What libc10.so is to an interposer: the two reports that PyTorch's profiler listens to. Counts them. */
#include "c10.h"

static unsigned long reports, ooms;

void c10_report(void *pointer, int64_t size, size_t allocated, size_t reserved, struct c10_device device) {
    __atomic_add_fetch(&reports, 1, __ATOMIC_RELAXED);
}

void c10_report_oom(int64_t requested, size_t allocated, size_t reserved, struct c10_device device) {
    __atomic_add_fetch(&ooms, 1, __ATOMIC_RELAXED);
}

unsigned long c10_reports_seen(void) {
    return __atomic_load_n(&reports, __ATOMIC_RELAXED);
}

unsigned long c10_ooms_seen(void) {
    return __atomic_load_n(&ooms, __ATOMIC_RELAXED);
}
