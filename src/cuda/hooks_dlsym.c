#include "cuda/hooks_dlsym.h"

#include "cuda/hooks_driver.h"
#include "resolve.h"

#include <dlfcn.h>
#include <errno.h>

#define ASSEMBLY __attribute__((used, visibility("hidden")))

typedef void *(*dlsym_function)(void *handle, const char *name);

ASSEMBLY void *hooks_dlsym_find(void);
ASSEMBLY void *hooks_dlsym_look(void *handle, const char *name, const void *caller);

/* What the assembly below goes through: the real dlsym, or, until that is known, a piece of code that looks for it. */
extern void *hooks_dlsym_unresolved(void *handle, const char *name) ASSEMBLY;
ASSEMBLY dlsym_function hooks_dlsym_real = hooks_dlsym_unresolved;
ASSEMBLY bool hooks_dlsym_watches;

static bool has_started; /* our constructor has run: from now on other threads may be loading libraries */

void hooks_dlsym_set_real(void *real) {
    __atomic_store_n(&has_started, true, __ATOMIC_RELAXED);
    if (real) __atomic_store_n(&hooks_dlsym_real, (dlsym_function)real, __ATOMIC_RELEASE);
}

void hooks_dlsym_watch(bool on) {
    __atomic_store_n(&hooks_dlsym_watches, on, __ATOMIC_RELAXED);
}

/* The real dlsym, or NULL. Before glibc 2.34 it is in libdl.so.2, which may be loaded late. */
ASSEMBLY void *hooks_dlsym_find(void) {
    int saved_errno = errno;
    bool late = __atomic_load_n(&has_started, __ATOMIC_RELAXED);
    void *real = late ? resolve_next("dlsym") : resolve_next_at_start("dlsym");
    if (real) __atomic_store_n(&hooks_dlsym_real, (dlsym_function)real, __ATOMIC_RELEASE);
    errno = saved_errno;
    return real;
}

/* What to answer instead of the real dlsym, or NULL to leave the answer to it. The name begins with "cu". A lookup by handle
 * does not depend on who calls, so it can be tried here; a failing one is repeated by the jump, and its dlerror is the real
 * one's. Only the driver's own function is replaced: other libraries have such names too (HAMi-core issue 326). */
ASSEMBLY void *hooks_dlsym_look(void *handle, const char *name, const void *caller) {
    if (handle == RTLD_DEFAULT || handle == RTLD_NEXT || !hooks_driver_has(name)) return NULL;
    if (hooks_dlsym_real == hooks_dlsym_unresolved && !hooks_dlsym_find()) return NULL;
    void *real = hooks_dlsym_real(handle, name), *wrapper = hooks_driver_wrapper(real, caller);
    return wrapper != real ? wrapper : NULL;
}

/* call_and_keep calls a function of ours and keeps the arguments of dlsym; the result is then in %rax, or in x16. */
#if defined(__x86_64__)
__asm__(".pushsection .text\n"
        ".macro call_and_keep function\n"
        "    pushq %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %rsi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    subq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call \\function\n"
        "    addq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %rsi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        ".endm\n"
        ".globl dlsym\n"
        ".type dlsym, @function\n"
        ".p2align 4\n"
        "dlsym:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    cmpb $0, hooks_dlsym_watches(%rip)\n"
        "    je 1f\n"
        "    cmpb $'c', (%rsi)\n"
        "    jne 1f\n"
        "    cmpb $'u', 1(%rsi)\n"
        "    jne 1f\n"
        "    movq (%rsp), %rdx\n"
        "    call_and_keep hooks_dlsym_look\n"
        "    testq %rax, %rax\n"
        "    je 1f\n"
        "    ret\n"
        "1:  jmpq *hooks_dlsym_real(%rip)\n"
        "    .cfi_endproc\n"
        ".size dlsym, . - dlsym\n"
        ".type hooks_dlsym_unresolved, @function\n"
        ".globl hooks_dlsym_unresolved\n"
        ".hidden hooks_dlsym_unresolved\n"
        "hooks_dlsym_unresolved:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    call_and_keep hooks_dlsym_find\n"
        "    testq %rax, %rax\n"
        "    je 1f\n"
        "    jmpq *%rax\n"
        "1:  ret\n"
        "    .cfi_endproc\n"
        ".size hooks_dlsym_unresolved, . - hooks_dlsym_unresolved\n"
        ".purgem call_and_keep\n"
        ".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
        ".macro call_and_keep function\n"
        "    stp x29, x30, [sp, #-32]!\n"
        "    .cfi_def_cfa_offset 32\n"
        "    .cfi_offset x29, -32\n"
        "    .cfi_offset x30, -24\n"
        "    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n"
        "    bl \\function\n"
        "    mov x16, x0\n"
        "    ldp x0, x1, [sp, #16]\n"
        "    ldp x29, x30, [sp], #32\n"
        "    .cfi_restore x29\n"
        "    .cfi_restore x30\n"
        "    .cfi_def_cfa_offset 0\n"
        ".endm\n"
        ".globl dlsym\n"
        ".type dlsym, %function\n"
        ".p2align 4\n"
        "dlsym:\n"
        "    .cfi_startproc\n"
        "    hint #34\n" /* bti c */
        "    adrp x16, hooks_dlsym_watches\n"
        "    ldrb w16, [x16, :lo12:hooks_dlsym_watches]\n"
        "    cbz w16, 1f\n"
        "    ldrb w16, [x1]\n"
        "    cmp w16, #'c'\n"
        "    b.ne 1f\n"
        "    ldrb w16, [x1, #1]\n"
        "    cmp w16, #'u'\n"
        "    b.ne 1f\n"
        "    mov x2, x30\n"
        "    call_and_keep hooks_dlsym_look\n"
        "    cbz x16, 1f\n"
        "    mov x0, x16\n"
        "    ret\n"
        "1:  adrp x16, hooks_dlsym_real\n"
        "    ldr x16, [x16, :lo12:hooks_dlsym_real]\n"
        "    br x16\n"
        "    .cfi_endproc\n"
        ".size dlsym, . - dlsym\n"
        ".type hooks_dlsym_unresolved, %function\n"
        ".globl hooks_dlsym_unresolved\n"
        ".hidden hooks_dlsym_unresolved\n"
        "hooks_dlsym_unresolved:\n"
        "    .cfi_startproc\n"
        "    hint #34\n"
        "    call_and_keep hooks_dlsym_find\n"
        "    cbz x16, 1f\n"
        "    br x16\n"
        "1:  mov x0, #0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size hooks_dlsym_unresolved, . - hooks_dlsym_unresolved\n"
        ".purgem call_and_keep\n"
        ".popsection\n");
#else
#error "no dlsym for this processor"
#endif
