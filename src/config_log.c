#include "config_log.h"

#include "base/log.h"
#include "config.h"

#include <jansson.h>

#define JSON_LIMIT 960 /* bytes, so that a line of base/log holds it */

/* Does nothing for a value that could not be made. */
static void set(json_t *object, const char *name, json_t *value) {
    if (value) json_object_set_new(object, name, value);
}

static json_t *describe(const struct config *config) {
    json_t *object = json_object();
    set(object, "version", json_string(COMFYDD_VERSION));
    set(object, "lang", json_string("c"));
    set(object, "service", json_string(config->service));
    set(object, "env", json_string(config->env));
    set(object, "dd_version", json_string(config->version));
    set(object, "agent_url", json_string(config->agent_url));
    set(object, "debug", json_boolean(config->debug));
    if (config->sample_rate >= 0) set(object, "sample_rate", json_real(config->sample_rate));
    set(object, "sampling_rules", json_string(config->sampling_rules));
    set(object, "tags", json_string(config->tags));
    set(object, "partial_flush_enabled", json_boolean(config->partial_flush));
    set(object, "partial_flush_min_spans", json_integer(config->partial_flush_min));
    return object;
}

void config_log(const struct config *config) {
    char text[JSON_LIMIT];
    json_t *object = describe(config);
    size_t size = json_dumpb(object, text, sizeof text, JSON_COMPACT);
    if (size > sizeof text) {
        json_object_del(object, "sampling_rules");
        json_object_del(object, "tags");
        size = json_dumpb(object, text, sizeof text, JSON_COMPACT);
    }
    if (size > 0 && size <= sizeof text) log_line("DATADOG TRACER CONFIGURATION - %.*s", (int)size, text);
    json_decref(object);
}
