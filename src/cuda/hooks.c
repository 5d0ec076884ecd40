#include "cuda/hooks.h"

#include "cuda/callers.h"
#include "cuda/hook_calls.h"
#include "cuda/hooks_dlsym.h"

void cuda_hooks_start(bool torch_caches) {
    callers_set_torch_caches(torch_caches);
    ledger_start();
    __atomic_store_n(&hook_calls_on, true, __ATOMIC_RELEASE);
    hooks_dlsym_watch(true);
}

void cuda_hooks_forked(void) {
    hook_calls_forked();
    callers_forked();
}

void cuda_hooks_set_dlsym(void *real) {
    hooks_dlsym_set_real(real);
}
