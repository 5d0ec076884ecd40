#include "export/v04_tags.h"

#include <stdlib.h>
#include <string.h>

bool v04_tags_init(struct v04_tags *tags, size_t key_count) {
    *tags = (struct v04_tags){.key_count = key_count, .round = 1};
    tags->places = calloc(key_count, sizeof *tags->places);
    return tags->places != NULL;
}

void v04_tags_finish(struct v04_tags *tags) {
    for (int map = 0; map < MAPS; map++)
        buf_finish(&tags->maps[map].packed);
    free(tags->places);
    *tags = (struct v04_tags){0};
}

/* Seldom: what comes after it moves up. */
void v04_tags_remove(struct v04_tags *tags, uint32_t key) {
    struct v04_tags_place gone = tags->places[key];
    struct v04_tags_map *map = &tags->maps[gone.map];
    char *at = map->packed.data + gone.offset;
    map->packed.size -= gone.size;
    map->count--;
    memmove(at, at + gone.size, map->packed.size - gone.offset);
    tags->places[key].round = 0;
    for (uint32_t i = 0; i < tags->key_count; i++) {
        struct v04_tags_place *place = &tags->places[i];
        if (v04_tags_has(tags, i) && place->map == gone.map && place->offset > gone.offset)
            place->offset -= gone.size;
    }
}
