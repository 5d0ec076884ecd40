#include "export/v04_identity.h"

#include "export/msgpack_v04.h"
#include "flight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const own_names[OWN_COUNT] = {
    [OWN_ORIGIN] = "_dd.origin",
    [OWN_HOSTNAME] = "_dd.hostname",
    [OWN_DECISION_MAKER] = "_dd.p.dm",
    [OWN_TRACE_ID_HIGH] = "_dd.p.tid",
    [OWN_KEPT_RATE] = "_dd.p.ksr",
    [OWN_PRIORITY] = "_sampling_priority_v1",
    [OWN_AGENT_RATE] = "_dd.agent_psr",
    [OWN_RULE_RATE] = "_dd.rule_psr",
    [OWN_LIMIT_RATE] = "_dd.limit_psr",
    [OWN_TRACER_KEEP_RATE] = "_dd.tracer_kr",
    [OWN_PARTIAL_VERSION] = "_dd.partial_version",
    [OWN_WAS_LONG_RUNNING] = "_dd.was_long_running",
    [OWN_STALLED_AFTER] = "watchdog.stalled_after_ms",
};

static enum v04_role role_of(const char *name) {
    static const struct {
        const char *name;
        enum v04_role role;
    } fields[] = {
        {"<resource>", ROLE_RESOURCE}, {"<origin>", ROLE_ORIGIN}, {"<propagated>", ROLE_PROPAGATED},
        {"<user tag>", ROLE_USER_TAG}, {"service", ROLE_SERVICE}, {"_dd.hostname", ROLE_HOSTNAME},
        {"<event oom>", ROLE_EVENT},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(name, fields[i].name)) return fields[i].role;
    return name[0] == '<' ? ROLE_UNKNOWN : ROLE_TAG;
}

uint32_t v04_identity_find(const struct v04_identity *id, const char *packed, size_t size) {
    uint32_t i = 0;
    while (i < id->key_count && !(id->keys[i].role == ROLE_TAG && id->keys[i].packed_size == size &&
                                  !memcmp(id->keys[i].packed, packed, size)))
        i++;
    return i;
}

/* Adds a key at the end; the caller has made room for it. */
static bool key_add(struct v04_identity *id, const char *name, size_t size, enum v04_role role) {
    struct buf packed = {0};
    struct writer w = writer_begin(&packed, text_room(size, KEY_LIMIT));
    if (!w.at) return false;
    pack_text(&w, name, size, KEY_LIMIT);
    writer_end(&w, &packed);
    uint32_t index = (uint32_t)id->key_count;
    uint32_t same = role == ROLE_TAG ? v04_identity_find(id, packed.data, packed.size) : index;
    id->keys[index] = (struct v04_key){.packed = packed.data,
                                       .packed_size = (uint32_t)packed.size,
                                       .same = same,
                                       .role = role,
                                       .in_event = size > 4 && memcmp(name, "oom.", 4) == 0};
    id->key_count++;
    return true;
}

static void tag_set(struct v04_identity *id, uint32_t key, struct v04_value value) {
    value.key = id->keys[key].same;
    uint32_t *place = &id->places[value.key];
    if (!*place) *place = (uint32_t)++id->value_count;
    id->values[*place - 1] = value;
    id->overrides |= id->keys[value.key].shared;
}

void v04_identity_text(struct v04_identity *id, uint32_t key, const char *text, size_t size) {
    tag_set(id, key, (struct v04_value){.text = text, .size = (uint32_t)size});
}

void v04_identity_number(struct v04_identity *id, uint32_t key, double number) {
    if (isfinite(number)) tag_set(id, key, (struct v04_value){.is_number = true, .number = number});
}

void v04_identity_entry(struct v04_identity *id, const struct flight_tag *tag, const void *value) {
    double number;
    if (tag->type == FLIGHT_TEXT) {
        v04_identity_text(id, tag->key, value, tag->size);
    } else if (tag->type == FLIGHT_NUMBER && tag->size == sizeof number) {
        memcpy(&number, value, sizeof number);
        v04_identity_number(id, tag->key, number);
    }
}

void v04_identity_clear(struct v04_identity *id) {
    for (size_t i = 0; i < id->value_count; i++)
        id->places[id->values[i].key] = 0;
    id->value_count = 0;
    id->overrides = false;
}

/* Turns the tags now set into the shared tags of one map. */
static bool share_tags(struct v04_identity *id, bool numbers, struct v04_shared_tags *shared) {
    shared->tags = calloc(id->value_count + 1, sizeof *shared->tags);
    if (!shared->tags) return false;
    for (size_t i = 0; i < id->value_count; i++) {
        const struct v04_value *value = &id->values[i];
        if (value->is_number != numbers) continue;
        struct writer w = writer_begin(&shared->packed, v04_value_room(id, value));
        if (!w.at) return false;
        uint32_t offset = (uint32_t)shared->packed.size;
        v04_value_pack(&w, id, value);
        writer_end(&w, &shared->packed);
        shared->tags[shared->count++] =
            (struct v04_shared_tag){value->key, offset, (uint32_t)shared->packed.size - offset};
    }
    return true;
}

static bool pack_fields(struct buf *out, const char *service, size_t service_size, const char *name) {
    struct writer w = writer_begin(out, 100 + text_room(service_size, SERVICE_LIMIT) + strlen(name));
    if (!w.at) return false;
    pack_map(&w, 12);
    pack_literal(&w, "service");
    pack_text(&w, service, service_size, SERVICE_LIMIT);
    pack_literal(&w, "name");
    pack_literal(&w, name);
    pack_literal(&w, "type");
    pack_literal(&w, "worker");
    pack_literal(&w, "resource");
    writer_end(&w, out);
    return true;
}

/* User tags first: what the identity says of its own goes before them. */
static bool identity_take_user_tags(struct v04_identity *id, const void *entries, size_t size) {
    size_t offset = 0;
    struct flight_tag tag;
    const void *value;
    while (flight_tag_next(entries, size, &offset, &tag, &value)) {
        if (tag.key >= id->name_count || id->keys[tag.key].role != ROLE_USER_TAG) continue;
        const char *text = value, *colon = memchr(text, ':', tag.size);
        size_t name_size = colon ? (size_t)(colon - text) : tag.size;
        const char *rest = colon ? colon + 1 : text + tag.size;
        if (!key_add(id, text, name_size, ROLE_TAG)) return false;
        v04_identity_text(id, (uint32_t)id->key_count - 1, rest, (size_t)(text + tag.size - rest));
    }
    return true;
}

static bool identity_take(struct v04_identity *id, const void *entries, size_t size) {
    const char *service = "comfyui";
    size_t service_size = strlen(service), offset = 0;
    struct flight_tag tag;
    const void *value;
    if (!identity_take_user_tags(id, entries, size)) return false;
    while (flight_tag_next(entries, size, &offset, &tag, &value)) {
        if (tag.key >= id->name_count) continue;
        enum v04_role role = id->keys[tag.key].role;
        if (role == ROLE_TAG) {
            v04_identity_entry(id, &tag, value);
        } else if (role == ROLE_SERVICE && tag.type == FLIGHT_TEXT && tag.size) {
            service = value;
            service_size = tag.size;
        } else if (role == ROLE_HOSTNAME && tag.type == FLIGHT_TEXT) {
            buf_clear(&id->hostname);
            if (!buf_append(&id->hostname, value, tag.size)) return false;
        }
    }
    bool done = share_tags(id, false, &id->meta) && share_tags(id, true, &id->metrics) &&
                pack_fields(&id->workflow_fields, service, service_size, "comfyui.workflow.execute") &&
                pack_fields(&id->node_fields, service, service_size, "comfyui.node.execute");
    for (size_t i = 0; i < id->value_count; i++)
        id->keys[id->values[i].key].shared = true;
    v04_identity_clear(id);
    return done;
}

struct v04_identity *v04_identity_create(const void *entries, size_t size, const char *const *names,
                                         size_t name_count) {
    struct v04_identity *id = calloc(1, sizeof *id);
    if (!id) return NULL;
    size_t most = name_count + OWN_COUNT + flight_tag_count(entries, size);
    id->keys = calloc(most, sizeof *id->keys);
    id->values = calloc(most, sizeof *id->values);
    id->places = calloc(most, sizeof *id->places);
    bool done = id->keys && id->values && id->places;
    for (size_t i = 0; i < name_count && done; i++)
        done = key_add(id, names[i], strlen(names[i]), role_of(names[i]));
    id->name_count = name_count;
    for (size_t i = 0; i < OWN_COUNT && done; i++)
        done = key_add(id, own_names[i], strlen(own_names[i]), ROLE_TAG);
    if (done && identity_take(id, entries, size)) return id;
    v04_identity_destroy(id);
    return NULL;
}

void v04_identity_destroy(struct v04_identity *id) {
    if (!id) return;
    for (size_t i = 0; i < id->key_count; i++)
        free(id->keys[i].packed);
    free(id->keys);
    free(id->values);
    free(id->places);
    free(id->meta.tags);
    free(id->metrics.tags);
    buf_finish(&id->meta.packed);
    buf_finish(&id->metrics.packed);
    buf_finish(&id->workflow_fields);
    buf_finish(&id->node_fields);
    buf_finish(&id->hostname);
    free(id);
}

void v04_identity_take_events(struct v04_identity *id, bool taken) {
    id->events = taken;
}
