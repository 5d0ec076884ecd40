#include "identity.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/process.h"
#include "config.h"
#include "flight.h"
#include "python/shim_abi.h"
#include "trace/tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void text(struct buf *out, enum tag key, const char *value) {
    if (!value || !*value) return;
    size_t size = strlen(value), room = flight_tag_room(size);
    char *at = buf_room(out, room);
    if (!at) return;
    flight_tag_write(at, key, FLIGHT_TEXT, value, size);
    out->size += room;
}

static void number(struct buf *out, enum tag key, double value) {
    size_t room = flight_tag_room(sizeof value);
    char *at = buf_room(out, room);
    if (!at) return;
    flight_tag_write(at, key, FLIGHT_NUMBER, &value, sizeof value);
    out->size += room;
}

/* Without a user's name or password: https://user:token@host/path. */
static void repository(struct buf *out, const char *url) {
    const char *host = url ? strstr(url, "://") : NULL;
    if (host) host += strlen("://");
    size_t host_size = host ? strcspn(host, "/") : 0;
    const char *at = host ? memrchr(host, '@', host_size) : NULL;
    char clean[1024];
    if (at) snprintf(clean, sizeof clean, "%.*s%s", (int)(host - url), url, at + 1);
    text(out, TAG_GIT_REPOSITORY, at ? clean : url);
}

static void user_tag(void *context, const char *name, const char *value) {
    char pair[1024];
    snprintf(pair, sizeof pair, "%s:%s", name, value);
    text(context, TAG_USER_TAG, pair);
}

static void *make_entries(const struct config *config, size_t *size) {
    struct buf out = {0};
    text(&out, TAG_SERVICE, config->service);
    text(&out, TAG_ENV, config->env);
    text(&out, TAG_VERSION, config->version);
    text(&out, TAG_COMPONENT, "comfyui");
    text(&out, TAG_LANGUAGE, "c");
    text(&out, TAG_RUNTIME_ID, shim_runtime_id());
    number(&out, TAG_PROCESS_ID, getpid());
    if (config->report_hostname) {
        char host[256] = "";
        gethostname(host, sizeof host - 1);
        text(&out, TAG_HOSTNAME, config->hostname ? config->hostname : host);
    }
    repository(&out, config->git_repository);
    text(&out, TAG_GIT_COMMIT, config->git_commit);
    if (config->tags) config_each_tag(config->tags, user_tag, &out);
    if (out.failed) buf_finish(&out);
    *size = out.size;
    return out.data;
}

struct flight *identity_create_flight(const struct config *config) {
    struct process_identity supervisor = {0};
    uint64_t secret = 0;
    if (config->supervisor && !process_parse(config->supervisor, &supervisor, &secret))
        log_line("COMFYDD_SUPERVISOR=%s is not PID.START, as comfydd run sets it, and is ignored",
                 config->supervisor);
    size_t size;
    void *entries = make_entries(config, &size);
    struct flight *flight =
        entries ? flight_create_in(config->flight_folder, &supervisor, entries, size) : NULL;
    free(entries);
    if (flight) flight_set_supervisor_secret(flight, secret);
    return flight;
}
