#include "export/v04_identity.h"

#include "export/msgpack_v04.h"
#include "flight.h"

#include <stdlib.h>
#include <string.h>

static const char *const own_names[OWN_COUNT] = {
    [OWN_ORIGIN] = "_dd.origin",
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
    [OWN_SPAN_KIND] = "span.kind",
    [OWN_TOP_LEVEL] = "_dd.top_level",
    [OWN_MEASURED] = "_dd.measured",
    [OWN_CLASS_TYPE] = "node.class_type",
    [OWN_STALLED_AFTER] = "watchdog.stalled_after_ms",
};

static enum v04_role role_of(const char *name) {
    static const struct {
        const char *name;
        enum v04_role role;
    } fields[] = {
        {"<resource>", ROLE_RESOURCE},
        {"<origin>", ROLE_ORIGIN},
        {"<propagated>", ROLE_PROPAGATED},
        {"<user tag>", ROLE_USER_TAG},
        {"service", ROLE_SERVICE},
        {"_dd.hostname", ROLE_CHUNK},
        {"_dd.git.repository_url", ROLE_CHUNK},
        {"_dd.git.commit.sha", ROLE_CHUNK},
        {"<event oom>", ROLE_EVENT},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(name, fields[i].name)) return fields[i].role;
    return name[0] == '<' ? ROLE_UNKNOWN : ROLE_TAG;
}

static bool is_sent_by_name(enum v04_role role) {
    return role == ROLE_TAG || role == ROLE_CHUNK;
}

uint32_t v04_identity_find(const struct v04_identity *id, const char *packed, size_t size) {
    uint32_t i = 0;
    while (i < id->key_count && !(is_sent_by_name(id->keys[i].role) && id->keys[i].packed_size == size &&
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
    uint32_t same = is_sent_by_name(role) ? v04_identity_find(id, packed.data, packed.size) : index;
    id->keys[index] = (struct v04_key){.packed = packed.data,
                                       .packed_size = (uint32_t)packed.size,
                                       .same = same,
                                       .role = role,
                                       .in_event = size > 4 && memcmp(name, "oom.", 4) == 0};
    id->key_count++;
    return true;
}

/* ---- a span's tags ---- */

void v04_identity_text(struct v04_identity *id, uint32_t key, const char *text, size_t size) {
    uint32_t same = id->keys[key].same;
    const struct v04_key *name = &id->keys[same];
    id->overrides |= name->shared;
    v04_tags_text(&id->span, same, name->packed, name->packed_size, text, size);
}

void v04_identity_number(struct v04_identity *id, uint32_t key, double number) {
    if (!__builtin_isfinite(number)) return;
    uint32_t same = id->keys[key].same;
    const struct v04_key *name = &id->keys[same];
    id->overrides |= name->shared;
    v04_tags_number(&id->span, same, name->packed, name->packed_size, number);
}

void v04_identity_entry(struct v04_identity *id, const struct flight_tag *tag, const void *value) {
    double number;
    if (tag->type == FLIGHT_TEXT)
        v04_identity_text(id, tag->key, value, tag->size);
    else if (flight_tag_number(tag, value, &number))
        v04_identity_number(id, tag->key, number);
}

/* ---- what spans have in common ---- */

static void kind_text(struct v04_identity *id, struct v04_kind *kind, uint32_t key, const char *text,
                      size_t size) {
    uint32_t same = id->keys[key].same;
    struct v04_key *name = &id->keys[same];
    name->shared = true;
    v04_tags_text(&kind->tags, same, name->packed, name->packed_size, text, size);
}

static void kind_number(struct v04_identity *id, struct v04_kind *kind, uint32_t key, double number) {
    if (!__builtin_isfinite(number)) return;
    uint32_t same = id->keys[key].same;
    struct v04_key *name = &id->keys[same];
    name->shared = true;
    v04_tags_number(&kind->tags, same, name->packed, name->packed_size, number);
}

static void share_text(struct v04_identity *id, uint32_t key, const char *text, size_t size) {
    kind_text(id, &id->workflow, key, text, size);
    kind_text(id, &id->node, key, text, size);
}

static void share_number(struct v04_identity *id, uint32_t key, double number) {
    kind_number(id, &id->workflow, key, number);
    kind_number(id, &id->node, key, number);
}

static bool pack_fields(struct v04_kind *kind, const char *service, size_t service_size) {
    struct writer w =
        writer_begin(&kind->fields, 100 + text_room(service_size, SERVICE_LIMIT) + strlen(kind->name));
    if (!w.at) return false;
    pack_map(&w, 12);
    pack_literal(&w, "service");
    pack_text(&w, service, service_size, SERVICE_LIMIT);
    pack_literal(&w, "name");
    pack_literal(&w, kind->name);
    pack_literal(&w, "type");
    pack_literal(&w, "worker");
    pack_literal(&w, "resource");
    writer_end(&w, &kind->fields);
    return !v04_tags_failed(&kind->tags);
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
        share_text(id, (uint32_t)id->key_count - 1, rest, (size_t)(text + tag.size - rest));
    }
    return true;
}

static bool keep_entry(struct buf *entries, const struct flight_tag *tag, const void *value) {
    size_t room = flight_tag_room(tag->size);
    char *at = buf_room(entries, room);
    if (!at) return false;
    flight_tag_write(at, tag->key, tag->type, value, tag->size);
    entries->size += room;
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
        double number;
        if (role == ROLE_SERVICE && tag.type == FLIGHT_TEXT && tag.size) {
            service = value;
            service_size = tag.size;
        } else if (role == ROLE_CHUNK && tag.type == FLIGHT_TEXT) {
            if (!keep_entry(&id->chunk, &tag, value)) return false;
        } else if (role == ROLE_TAG && tag.type == FLIGHT_TEXT) {
            share_text(id, tag.key, value, tag.size);
        } else if (role == ROLE_TAG && flight_tag_number(&tag, value, &number)) {
            share_number(id, tag.key, number);
        }
    }
    kind_text(id, &id->workflow, v04_identity_own(id, OWN_SPAN_KIND), "consumer", 8);
    kind_number(id, &id->workflow, v04_identity_own(id, OWN_TOP_LEVEL), 1);
    kind_text(id, &id->node, v04_identity_own(id, OWN_SPAN_KIND), "internal", 8);
    kind_number(id, &id->node, v04_identity_own(id, OWN_MEASURED), 1);
    return pack_fields(&id->workflow, service, service_size) && pack_fields(&id->node, service, service_size);
}

/* ---- the whole ---- */

struct v04_identity *v04_identity_create(const void *entries, size_t size, const char *const *names,
                                         size_t name_count) {
    struct v04_identity *id = calloc(1, sizeof *id);
    if (!id) return NULL;
    size_t most = name_count + OWN_COUNT + flight_tag_count(entries, size);
    id->keys = calloc(most, sizeof *id->keys);
    id->workflow.name = "comfyui.workflow.execute";
    id->node.name = "comfyui.node.execute";
    bool done = id->keys && v04_tags_init(&id->workflow.tags, most) && v04_tags_init(&id->node.tags, most) &&
                v04_tags_init(&id->span, most);
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
    v04_tags_finish(&id->workflow.tags);
    v04_tags_finish(&id->node.tags);
    v04_tags_finish(&id->span);
    buf_finish(&id->workflow.fields);
    buf_finish(&id->node.fields);
    buf_finish(&id->chunk);
    free(id);
}

void v04_identity_take_events(struct v04_identity *id, bool taken) {
    id->events = taken;
}
