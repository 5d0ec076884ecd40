#include "gate.h"

#include "python/python_api.h"
#include "python/shim_abi.h"
#include "resolve.h"

bool gate_is_open(void) {
    /* New in 3.9. */
    if (!PyInterpreterState_Get) return false;
    /* Two copies (preloaded twice, or loaded by the shim beside a preloaded one) would trace everything twice: the first
     * in the search order works. */
    return resolve_first("comfydd_shim_abi") == (void *)shim_abi;
}
