/* NAMES is a generated list: NAME(function) and TWIN(function_ptsz, function). */
#include "gpu/stubs.h"

#include "gpu/calls.h"

#include <stddef.h>

#if defined __x86_64__
#define JUMP "jmp "
#elif defined __aarch64__
#define JUMP "b "
#else
#error "how does a function jump to another on this machine?"
#endif

#define NAME(function)                                                                                       \
    __attribute__((weak)) int function(void);                                                                \
    int function(void) {                                                                                     \
        static struct call_site site = {.name = #function, .stub = true};                                    \
        return calls_note(&site);                                                                            \
    }
#define TWIN(function, of)                                                                                   \
    __asm__(".text\n.weak " #function "\n.type " #function ", @function\n" #function ":\n" JUMP #of "\n");   \
    int function(void);
#include NAMES
#undef NAME
#undef TWIN

struct export {
    const char *name;
    any_function address;
};

static const struct export exports[] = {
#define NAME(function)     {#function, (any_function)function},
#define TWIN(function, of) {#function, (any_function)function},
#include NAMES
#undef NAME
#undef TWIN
};

void stubs_each(void (*see)(const char *name, any_function address)) {
    for (size_t i = 0; i < sizeof exports / sizeof *exports; i++)
        see(exports[i].name, exports[i].address);
}

int stubs_unknown(void) {
    static struct call_site site = {.name = "(a function that no header here declares)", .stub = true};

    return calls_note(&site);
}
