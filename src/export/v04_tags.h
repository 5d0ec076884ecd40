/* v04_tags: tags of one span, or of all, packed as they are sent: each name once, the last value winning.
 *
 * Tags are known by numbers below the `key_count` that the set was made for; the caller has their packed names. When
 * memory runs out, v04_tags_failed says so. One thread at a time. */
#ifndef COMFYDD_V04_TAGS_H
#define COMFYDD_V04_TAGS_H

#include "export/msgpack_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_LIMIT 25000 /* bytes of cleaned text (datadog-agent, pkg/trace/agent/truncator.go) */

enum v04_map { META, METRICS, MAPS };

struct v04_tags_map {
    struct buf packed; /* name, value, name, value, ... */
    size_t count;
};

/* Where a tag lies in its map. */
struct v04_tags_place {
    uint64_t round; /* in which it was set */
    uint32_t offset, size;
    enum v04_map map;
};

struct v04_tags {
    struct v04_tags_map maps[MAPS];
    struct v04_tags_place *places; /* owned; by key */
    size_t key_count;
    uint64_t round; /* goes up when the set is emptied: then no place counts any more */
};

/* An empty set; false without memory. */
bool v04_tags_init(struct v04_tags *tags, size_t key_count);
void v04_tags_finish(struct v04_tags *tags);

/* Takes a tag out that is there. */
void v04_tags_remove(struct v04_tags *tags, uint32_t key);

static inline void v04_tags_clear(struct v04_tags *tags) {
    tags->round++;
    for (int map = 0; map < MAPS; map++) {
        buf_clear(&tags->maps[map].packed);
        tags->maps[map].count = 0;
    }
}

static inline bool v04_tags_failed(const struct v04_tags *tags) {
    return tags->maps[META].packed.failed || tags->maps[METRICS].packed.failed;
}

static inline bool v04_tags_has(const struct v04_tags *tags, uint32_t key) {
    return tags->places[key].round == tags->round;
}

/* One tag of a map, packed. */
static inline const char *v04_tags_packed(const struct v04_tags *tags, uint32_t key, size_t *size) {
    const struct v04_tags_place *place = &tags->places[key];
    *size = place->size;
    return tags->maps[place->map].packed.data + place->offset;
}

/* What both kinds of tags begin with: a writer behind the name, with `room` bytes for the value; `at` is NULL without
 * memory. */
static inline struct writer v04_tags_begin(struct v04_tags *tags, enum v04_map map, uint32_t key,
                                           const char *name, size_t name_size, size_t room) {
    if (v04_tags_has(tags, key)) v04_tags_remove(tags, key);
    struct writer w = writer_begin(&tags->maps[map].packed, name_size + room);
    if (w.at) writer_put(&w, name, name_size);
    return w;
}

static inline void v04_tags_end(struct v04_tags *tags, enum v04_map map, uint32_t key,
                                const struct writer *w) {
    struct buf *packed = &tags->maps[map].packed;
    uint32_t offset = (uint32_t)packed->size;
    writer_end(w, packed);
    tags->maps[map].count++;
    tags->places[key] = (struct v04_tags_place){tags->round, offset, (uint32_t)packed->size - offset, map};
}

/* Sets a tag; its name is packed already. */
static inline void v04_tags_text(struct v04_tags *tags, uint32_t key, const char *name, size_t name_size,
                                 const char *text, size_t size) {
    struct writer w = v04_tags_begin(tags, META, key, name, name_size, text_room(size, VALUE_LIMIT));
    if (!w.at) return;
    pack_text(&w, text, size, VALUE_LIMIT);
    v04_tags_end(tags, META, key, &w);
}

static inline void v04_tags_number(struct v04_tags *tags, uint32_t key, const char *name, size_t name_size,
                                   double number) {
    struct writer w = v04_tags_begin(tags, METRICS, key, name, name_size, NUMBER_ROOM);
    if (!w.at) return;
    pack_double(&w, number);
    v04_tags_end(tags, METRICS, key, &w);
}

#endif
