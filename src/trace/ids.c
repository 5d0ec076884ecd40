#include "trace/ids.h"

#include "base/clock.h"
#include "base/each_node.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef GRND_NONBLOCK
#define GRND_NONBLOCK 1
#endif

/* SplitMix64 (Steele, Lea, Flood 2014) over a counter, with a random key mixed in: two processes share
 * neither their starting points nor their sequences, and within one process no counter value is used twice.
 */
EACH_NODE static uint64_t key, counter;
EACH_NODE static bool seeded;

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void ids_random(uint64_t random[2]) {
    int saved_errno = errno;
    /* The system call itself: glibc has a wrapper only since 2.25. */
    if (syscall(SYS_getrandom, random, 2 * sizeof *random, GRND_NONBLOCK) != (long)(2 * sizeof *random)) {
        random[0] = mix(clock_wall_ns()) ^ (uint64_t)getpid();
        random[1] = mix(clock_mono_ns()) ^ (uint64_t)(uintptr_t)random;
    }
    errno = saved_errno;
}

void ids_reseed(void) {
    uint64_t seed[2];
    ids_random(seed);
    /* Two threads may both find no seed yet; whichever half of theirs stays, it is random. */
    __atomic_store_n(&key, seed[0], __ATOMIC_RELAXED);
    __atomic_store_n(&counter, seed[1], __ATOMIC_RELAXED);
    __atomic_store_n(&seeded, true, __ATOMIC_RELEASE);
}

uint64_t ids_next(void) {
    if (!__atomic_load_n(&seeded, __ATOMIC_ACQUIRE)) ids_reseed();
    for (;;) {
        uint64_t step = __atomic_add_fetch(&counter, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);
        uint64_t id = mix(mix(step) ^ __atomic_load_n(&key, __ATOMIC_RELAXED)) >> 1;
        if (id) return id;
    }
}

uint64_t ids_trace_high(uint64_t wall_ns) {
    return wall_ns / 1000000000u << 32;
}

bool ids_parse_decimal(const char *text, uint64_t *high, uint64_t *low) {
    const unsigned __int128 most = ~(unsigned __int128)0;
    unsigned __int128 value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        unsigned digit = (unsigned)(*text - '0');
        if (value > (most - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *high = (uint64_t)(value >> 64);
    *low = (uint64_t)value;
    return true;
}

/* Exactly `digits` lower-case hex digits, as W3C trace context wants them. */
static bool parse_hex(const char *text, int digits, uint64_t *value) {
    *value = 0;
    for (int i = 0; i < digits; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value = *value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

bool ids_parse_traceparent(const char *text, struct ids_parent *parent) {
    enum { VERSION_AT = 0, TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, SIZE = 55 };
    uint64_t version, high, low, span_id, flags;
    if (strnlen(text, SIZE) < SIZE) return false;
    if (text[TRACE_AT - 1] != '-' || text[SPAN_AT - 1] != '-' || text[FLAGS_AT - 1] != '-') return false;
    if (!parse_hex(text + VERSION_AT, 2, &version) || version == 0xff) return false;
    if (!parse_hex(text + TRACE_AT, 16, &high) || !parse_hex(text + TRACE_AT + 16, 16, &low)) return false;
    if (!parse_hex(text + SPAN_AT, 16, &span_id) || !parse_hex(text + FLAGS_AT, 2, &flags)) return false;
    if (text[SIZE] && (version == 0 || text[SIZE] != '-')) return false;
    if (!low || !span_id) return false;
    *parent = (struct ids_parent){
        .trace_id_high = high,
        .trace_id_low = low,
        .span_id = span_id,
        .priority = flags & 1 ? 1 : 0,
        .has_priority = true,
    };
    return true;
}

static void apply_priority(const char *value, size_t size, struct ids_parent *parent) {
    int priority;
    if (size == 1 && value[0] >= '0' && value[0] <= '2')
        priority = value[0] - '0';
    else if (size == 2 && memcmp(value, "-1", 2) == 0)
        priority = -1;
    else
        return;
    if (parent->has_priority && (priority > 0) != (parent->priority > 0)) return;
    parent->priority = priority;
    parent->has_priority = true;
}

static void apply_origin(const char *value, size_t size, struct ids_parent *parent) {
    if (size >= sizeof parent->origin) return;
    for (size_t i = 0; i < size; i++)
        if (value[i] < ' ' || value[i] > '~') return;
    for (size_t i = 0; i < size; i++) /* '=' may not stand in a tracestate: Datadog writes '~' for it */
        parent->origin[i] = value[i] == '~' ? '=' : value[i];
    parent->origin[size] = 0;
}

/* ---- tags that travel with a trace ---- */

static const char tag_prefix[] = "_dd.p.";
enum { TAG_PREFIX = sizeof tag_prefix - 1 };

static bool is_text(const char *text, size_t size, char first, const char *excluded) {
    for (size_t i = 0; i < size; i++)
        if (text[i] < first || text[i] > '~' || strchr(excluded, text[i])) return false;
    return size > 0;
}

/* A dash and the number of a sampling mechanism. */
static bool is_decision_maker(const char *value, size_t size) {
    if (size < 2 || size > 4 || value[0] != '-') return false;
    for (size_t i = 1; i < size; i++)
        if (value[i] < '0' || value[i] > '9') return false;
    return true;
}

static bool has_name(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

/* The name without its prefix; '~' in the value stands for `tilde`. */
static void add_tag(const char *name, size_t name_size, const char *value, size_t size, char tilde,
                    struct ids_parent *parent) {
    if (!is_text(name, name_size, '!', ",=") || !is_text(value, size, ' ', ",")) return;
    if (has_name(name, name_size, "tid")) return;
    bool keeps = parent->has_priority && parent->priority > 0;
    if (has_name(name, name_size, "dm") && !(keeps && is_decision_maker(value, size))) return;
    size_t used = strlen(parent->tags);
    if (used + 1 + TAG_PREFIX + name_size + 1 + size >= sizeof parent->tags) return;
    char *at = parent->tags + used;
    if (used) *at++ = ',';
    at = (char *)memcpy(at, tag_prefix, TAG_PREFIX) + TAG_PREFIX;
    at = (char *)memcpy(at, name, name_size) + name_size;
    *at++ = '=';
    for (size_t i = 0; i < size; i++)
        *at++ = value[i] == '~' ? tilde : value[i];
    *at = '\0';
}

void ids_apply_tags(const char *text, struct ids_parent *parent) {
    for (size_t size; *text; text += size + (text[size] == ',')) {
        size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size), *end = text + size;
        if (!equals || strncmp(text, tag_prefix, TAG_PREFIX) != 0) continue;
        const char *name = text + TAG_PREFIX;
        if (equals < name) continue;
        add_tag(name, (size_t)(equals - name), equals + 1, (size_t)(end - equals - 1), '~', parent);
    }
}

/* ---- W3C tracestate ---- */

/* What the first list member whose key is "dd" holds, and its end; NULL when there is none. */
static const char *datadog_member(const char *at, const char **end) {
    for (;; at++) {
        at += strspn(at, " \t");
        if (strncmp(at, "dd=", 3) == 0) break;
        at += strcspn(at, ",");
        if (!*at) return NULL;
    }
    at += 3;
    *end = at + strcspn(at, ",");
    while (*end > at && ((*end)[-1] == ' ' || (*end)[-1] == '\t'))
        --*end;
    return at;
}

static void apply_decision(const char *item, size_t size, struct ids_parent *parent) {
    if (size > 2 && memcmp(item, "s:", 2) == 0) apply_priority(item + 2, size - 2, parent);
    if (size > 2 && memcmp(item, "o:", 2) == 0) apply_origin(item + 2, size - 2, parent);
}

static void apply_tag(const char *item, size_t size, struct ids_parent *parent) {
    const char *colon = memchr(item, ':', size);
    if (!colon || colon < item + 2 || memcmp(item, "t.", 2) != 0) return;
    add_tag(item + 2, (size_t)(colon - item - 2), colon + 1, (size_t)(item + size - colon - 1), '=', parent);
}

static void each_item(const char *at, const char *end,
                      void (*apply)(const char *item, size_t size, struct ids_parent *parent),
                      struct ids_parent *parent) {
    while (at < end) {
        const char *next = memchr(at, ';', (size_t)(end - at));
        size_t size = (size_t)((next ? next : end) - at);
        apply(at, size, parent);
        at += size + 1;
    }
}

void ids_apply_tracestate(const char *text, struct ids_parent *parent) {
    const char *end, *member = datadog_member(text, &end);
    if (!member) return;
    each_item(member, end, apply_decision, parent);
    each_item(member, end, apply_tag, parent); /* they depend on the priority */
}
