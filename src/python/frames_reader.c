#include "python/frames_reader.h"

#include "base/each_node.h"
#include "base/hash.h"
#include "base/peek.h"
#include "python/frames_lines.h"
#include "python/python_api.h"

#include <pthread.h>
#include <string.h>

/* Both variants of everything come from one source: `careful` is a constant in each. */
#define INLINE static inline __attribute__((always_inline))

#define LONGEST_TABLE (1 << 26) /* bytes */
#define LONGEST_TEXT  (1 << 20) /* characters */

EACH_NODE static struct frames_layout layout;
static const void *code_type;
static PyInterpreterState *main_interpreter;

void frames_reader_init(const struct frames_layout *chosen, const void *type) {
    layout = *chosen;
    code_type = type;
    main_interpreter = PyInterpreterState_Main();
}

/* ---- reading ---- */

INLINE bool load(void *out, const void *from, size_t size, bool careful) {
    if (careful) return peek(out, from, size);
    memcpy(out, from, size);
    return true;
}

/* A pointer to an object or a frame; false when it cannot be one. References have tags in the lowest bits since 3.14. */
INLINE bool load_pointer(const char **out, const char *from, bool careful) {
    uintptr_t pointer;
    if (!load(&pointer, from, sizeof pointer, careful)) return false;
    pointer &= ~(uintptr_t)3;
    *out = (const char *)pointer;
    return !(pointer & 7) && pointer - 4096 < (uintptr_t)1 << 47;
}

/* ---- frames ---- */

/* Up to 3.11 this thread's state is the main interpreter's even while the thread executes another one's code, and which
 * it is cannot be told without the GIL. So where there are others, no stack is read. */
static bool others_cannot_be_told(void) {
    return python_minor < 12 && PyInterpreterState_Head() != main_interpreter;
}

/* Not the "current" thread state: without the GIL that is NULL or, up to 3.11, another thread's. */
INLINE const char *thread_state(bool careful) {
    if (python_finalizing()) return NULL;
    PyThreadState *state = PyGILState_GetThisThreadState();
    if (!state || PyThreadState_GetInterpreter(state) != main_interpreter || others_cannot_be_told())
        return NULL;
    unsigned long id;
    if (!load(&id, (const char *)state + layout.thread_id, sizeof id, careful)) return NULL;
    return id == (unsigned long)pthread_self() ? (const char *)state : NULL;
}

/* Where a frame of 3.11 and newer stands. False when it is the interpreter's own, or has not begun. */
INLINE bool place_in_bytecode(const char *frame, const char *code, struct frames_place *out, bool *broken,
                              bool careful) {
    const char *instruction;
    unsigned char owner;
    int first;
    *broken = true;
    if (!load(&owner, frame + layout.frame_owner, sizeof owner, careful)) return false;
    if (owner >= FRAMES_OWNED_BY_INTERPRETER) {
        *broken = false;
        return false;
    }
    const void *type;
    if (!load(&type, code + FRAMES_TYPE, sizeof type, careful) || type != code_type) return false;
    if (!load(&instruction, frame + layout.frame_instruction, sizeof instruction, careful)) return false;
    if (!load(&first, code + layout.code_first_traceable, sizeof first, careful)) return false;
    ptrdiff_t offset = instruction - (code + layout.code_bytecode);
    if (owner != FRAMES_OWNED_BY_GENERATOR && offset < 2 * (ptrdiff_t)first) {
        *broken = false;
        return false;
    }
    if (offset < 0 || offset > INT32_MAX) return false;
    *out = (struct frames_place){code, (uint32_t)offset};
    *broken = false;
    return true;
}

/* Where a frame of 3.9 or 3.10 stands. */
INLINE bool place_by_lasti(const char *frame, const char *code, struct frames_place *out, bool careful) {
    const void *type;
    int lasti;
    if (!load(&type, code + FRAMES_TYPE, sizeof type, careful) || type != code_type) return false;
    if (!load(&lasti, frame + layout.frame_instruction, sizeof lasti, careful)) return false;
    *out = (struct frames_place){code, lasti < 0 ? 0 : (uint32_t)lasti * layout.lasti_unit};
    return true;
}

INLINE size_t walk(struct frames_place *out, size_t room, bool careful) {
    const char *at = thread_state(careful), *frame, *code;
    if (!at) return 0;
    if (layout.thread_cframe && !load_pointer(&at, at + layout.thread_cframe, careful)) return 0;
    at += layout.thread_frame;
    size_t count = 0;
    /* A list that ran in a circle would otherwise be walked for ever. */
    for (size_t steps = 0; count < room && steps < 2 * room + 64; steps++) {
        if (!load_pointer(&frame, at, careful) || !load_pointer(&code, frame + layout.frame_code, careful))
            break;
        bool broken = false, placed;
        if (layout.lasti_unit)
            broken = !(placed = place_by_lasti(frame, code, &out[count], careful));
        else
            placed = place_in_bytecode(frame, code, &out[count], &broken, careful);
        if (broken) break;
        count += placed;
        at = frame + layout.frame_previous;
    }
    return count;
}

/* Of the current thread state, which under the GIL is this thread's in any interpreter. */
INLINE const char *innermost(const void *code, bool careful) {
    if (!layout.frame_locals) return NULL;
    const char *at = (const char *)PyThreadState_Get(), *frame, *executed;
    if (layout.thread_cframe && !load_pointer(&at, at + layout.thread_cframe, careful)) return NULL;
    if (!load_pointer(&frame, at + layout.thread_frame, careful)) return NULL;
    return load_pointer(&executed, frame + layout.frame_code, careful) && executed == code ? frame : NULL;
}

const char *frames_reader_innermost(const void *code) {
    return innermost(code, false);
}

const char *frames_reader_innermost_carefully(const void *code) {
    return innermost(code, true);
}

const void *frames_reader_local(const char *frame, int number) {
    const void *value;
    memcpy(&value, frame + layout.frame_locals + (size_t)number * sizeof value, sizeof value);
    return value;
}

bool frames_reader_begins_locals_carefully(const char *frame, const void *value) {
    const void *found = NULL;
    size_t at = 0;
    while (at <= layout.frame_locals && load(&found, frame + at, sizeof found, true) && found != value)
        at += sizeof found;
    return found == value && at == layout.frame_locals;
}

void frames_reader_forget_locals(void) {
    layout.frame_locals = 0;
}

size_t frames_reader_walk(struct frames_place *out, size_t room) {
    return walk(out, room, false);
}

size_t frames_reader_walk_carefully(struct frames_place *out, size_t room) {
    return walk(out, room, true);
}

/* ---- names and lines ---- */

/* A str's characters: `length` of `kind` bytes each. */
struct text {
    const char *characters;
    int64_t length;
    unsigned kind;
};

INLINE bool load_text(struct text *out, const char *str, bool careful) {
    uint32_t state;
    if (!load(&state, str + FRAMES_STATE, sizeof state, careful)) return false;
    if (!load(&out->length, str + FRAMES_SIZE, sizeof out->length, careful)) return false;
    out->kind = state >> 2 & 7;
    bool compact = state >> 5 & 1, ascii = state >> 6 & 1;
    out->characters = str + (ascii ? layout.text_ascii : layout.text_compact);
    return compact && out->length >= 0 && out->length <= LONGEST_TEXT &&
           (out->kind == 1 || out->kind == 2 || out->kind == 4);
}

/* Writes a character as UTF-8, one that is no text (bytes that Python smuggles through str, say) as "?"; returns its bytes,
 * at most 4. */
static size_t encode(char *out, uint32_t character) {
    if (character >= 0xd800 && character <= 0xdfff) character = '?';
    unsigned more = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    out[0] = (char)(more == 0 ? character : 0xff00 >> (more + 1) | character >> 6 * more);
    for (unsigned i = 1; i <= more; i++)
        out[i] = (char)(0x80 | (character >> 6 * (more - i) & 0x3f));
    return more + 1;
}

INLINE bool copy_text(char *out, size_t room, const char *str, bool careful) {
    struct text text;
    if (!load_text(&text, str, careful)) return false;
    size_t used = 0;
    for (int64_t i = 0; i < text.length; i++) {
        uint32_t character = 0; /* little-endian */
        char bytes[4];
        if (!load(&character, text.characters + i * text.kind, text.kind, careful)) return false;
        size_t size = encode(bytes, character);
        if (used + size >= room) break;
        memcpy(out + used, bytes, size);
        used += size;
    }
    out[used] = '\0';
    return true;
}

INLINE bool resolve(const struct frames_place *place, struct frames_site *site, bool careful) {
    const char *file, *name, *lines;
    int first;
    int64_t size;
    if (!load_pointer(&file, place->code + layout.code_filename, careful) ||
        !load_pointer(&name, place->code + layout.code_name, careful) ||
        !load_pointer(&lines, place->code + layout.code_lines, careful) ||
        !load(&first, place->code + layout.code_first_line, sizeof first, careful) ||
        !load(&size, lines + FRAMES_SIZE, sizeof size, careful) || size < 0 || size > LONGEST_TABLE)
        return false;
    const uint8_t *table = (const uint8_t *)lines + FRAMES_BYTES;
    uint8_t copy[4096];
    if (careful) {
        if (size > (int64_t)sizeof copy) size = sizeof copy;
        if (!load(copy, table, (size_t)size, careful)) return false;
        table = copy;
    }
    site->line = frames_lines_find(layout.lines, table, (size_t)size, first, place->offset);
    return copy_text(site->file, sizeof site->file, file, careful) &&
           copy_text(site->function, sizeof site->function, name, careful);
}

bool frames_reader_resolve(const struct frames_place *place, struct frames_site *site) {
    return resolve(place, site, false);
}

bool frames_reader_resolve_carefully(const struct frames_place *place, struct frames_site *site) {
    return resolve(place, site, true);
}

/* ---- keys ---- */

/* The last 8 of `size` bytes; 0 bits before them where there are fewer. */
INLINE uint64_t tail(const char *bytes, size_t size) {
    if (size == 0) return 0;
    uint64_t word = hash_word(bytes + size - 8); /* begins in the object's head where there are fewer */
    return size >= 8 ? word : word >> (64 - 8 * size);
}

/* What tells the content of a str from others: its hash, which Python computes on demand, or its end. */
INLINE uint64_t content_of(const char *str) {
    uint64_t hash = hash_word(str + FRAMES_HASH);
    struct text text;
    if (hash != UINT64_MAX || !load_text(&text, str, false)) return hash;
    return tail(text.characters, (size_t)text.length * text.kind);
}

/* Takes the first 32 and the last 8 bytes of a line table into a key. */
INLINE uint64_t mix_lines(uint64_t key, const char *table, size_t size) {
    uint64_t last = tail(table, size);
    if (size < 8) return hash_mix(key, size, last);
    size_t end = size - 8; /* nothing is read beyond: words overlap where the table is short */
    key = hash_mix(key, hash_word(table), hash_word(table + (end < 8 ? end : 8)));
    key = hash_mix(key, hash_word(table + (end < 16 ? end : 16)), hash_word(table + (end < 24 ? end : 24)));
    return hash_mix(key, size, last);
}

/* For want of a number that tells code objects apart: everything that makes up file, function and line, or nearly. exec() in
 * a loop gives code of the same names, first line and size at the same addresses. */
static uint64_t mix_content(uint64_t key, const struct frames_place *place) {
    const char *code = place->code;
    const char *file = (const char *)hash_word(code + layout.code_filename);
    const char *name = (const char *)hash_word(code + layout.code_name);
    const char *lines = (const char *)hash_word(code + layout.code_lines);
    uint32_t first;
    memcpy(&first, code + layout.code_first_line, sizeof first);
    key = hash_mix(key, (uintptr_t)code, (uint64_t)first << 32 | place->offset);
    key = hash_mix(key, (uintptr_t)file, content_of(file));
    key = hash_mix(key, (uintptr_t)name, content_of(name));
    return mix_lines(key ^ (uintptr_t)lines, lines + FRAMES_BYTES, hash_word(lines + FRAMES_SIZE));
}

uint64_t frames_reader_key(const struct frames_place *places, size_t count) {
    uint64_t key = count;
    for (size_t i = 0; i < count; i++) {
        uint32_t version = 0;
        if (layout.code_version) memcpy(&version, places[i].code + layout.code_version, sizeof version);
        if (version)
            key = hash_mix(key, (uintptr_t)places[i].code, (uint64_t)version << 32 | places[i].offset);
        else
            key = mix_content(key, &places[i]);
    }
    return key;
}

uint32_t frames_reader_version_carefully(const struct frames_place *place) {
    uint32_t version = 0;
    if (layout.code_version && !load(&version, place->code + layout.code_version, sizeof version, true))
        return 0;
    return version;
}

void frames_reader_forget_version(void) {
    layout.code_version = 0;
}
