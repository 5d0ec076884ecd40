#include "python/stacks.h"

#include "base/intern.h"
#include "base/log.h"
#include "base/memo.h"

#include <string.h>
#include <sys/mman.h>

/* Bytes of each part; together 8 MiB for names and lines, 4 MiB for stacks. A program has some thousand sites. */
enum {
    SITE_MEMOS = 1 << 14,
    STACK_MEMOS = 1 << 13,
    SITE_MEMO_BYTES = SITE_MEMOS * (int)sizeof(struct memo),
    STACK_MEMO_BYTES = STACK_MEMOS * (int)sizeof(struct memo),
    TEXT_BYTES = 5 << 20,
    SITE_BYTES = (3 << 20) - SITE_MEMO_BYTES,
    STACK_BYTES = (4 << 20) - STACK_MEMO_BYTES,
    ALL_BYTES = SITE_MEMO_BYTES + STACK_MEMO_BYTES + TEXT_BYTES + SITE_BYTES + STACK_BYTES,
    TEXT_SLOTS = 1 << 15,
    SITE_SLOTS = 1 << 16,
    STACK_SLOTS = 1 << 15,
};

struct site {
    uint32_t file, function; /* ids of texts */
    int32_t line;
};

static struct intern texts, sites, stacks;
static struct memo *site_memos, *stack_memos;

bool stacks_init(void) {
    if (site_memos) return true;
    char *memory =
        mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    intern_init(&texts, memory, TEXT_BYTES, TEXT_SLOTS);
    intern_init(&sites, memory + TEXT_BYTES, SITE_BYTES, SITE_SLOTS);
    intern_init(&stacks, memory + TEXT_BYTES + SITE_BYTES, STACK_BYTES, STACK_SLOTS);
    site_memos = (struct memo *)(memory + TEXT_BYTES + SITE_BYTES + STACK_BYTES);
    stack_memos = site_memos + SITE_MEMOS;
    return true;
}

uint32_t stacks_known_site(uint64_t key) {
    return memo_get(site_memos, SITE_MEMOS, key);
}

uint32_t stacks_known(uint64_t key) {
    return memo_get(stack_memos, STACK_MEMOS, key);
}

static uint32_t full(void) {
    log_once("there is no room for more Python stacks of GPU allocations: new ones are not recorded");
    return 0;
}

uint32_t stacks_add_site(uint64_t key, const char *file, const char *function, int line) {
    struct site site = {.file = intern_add(&texts, file, (uint32_t)strlen(file) + 1),
                        .function = intern_add(&texts, function, (uint32_t)strlen(function) + 1),
                        .line = line};
    uint32_t id = site.file && site.function ? intern_add(&sites, &site, sizeof site) : 0;
    if (!id) return full();
    memo_put(site_memos, SITE_MEMOS, key, id);
    return id;
}

uint32_t stacks_add(uint64_t key, const uint32_t *ids, size_t count) {
    uint32_t id = intern_add(&stacks, ids, (uint32_t)(count * sizeof *ids));
    if (!id) return full();
    memo_put(stack_memos, STACK_MEMOS, key, id);
    return id;
}

size_t stacks_get(uint32_t stack, struct frame *out, size_t room) {
    uint32_t size;
    const uint32_t *ids = intern_get(&stacks, stack, &size);
    size_t count = size / sizeof *ids;
    for (size_t i = 0; i < count && i < room; i++) {
        const struct site *site = intern_get(&sites, ids[i], NULL);
        out[i] = (struct frame){.file = intern_get(&texts, site->file, NULL),
                                .function = intern_get(&texts, site->function, NULL),
                                .line = site->line};
    }
    return count;
}
