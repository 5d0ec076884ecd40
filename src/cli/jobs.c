#include "cli/jobs.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "cli/jobs_database.h"
#include "cli/spool.h"
#include "trace/ids.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_TEXT = 5000,      /* bytes of one value */
    MOST_UNSPOOLED = 1000, /* events kept in memory while the spool file takes none */
    MOST_ADOPTED = 32,
    MESSAGE = 512,
    FIRST_PAUSE_S = 1,
    LONGEST_PAUSE_S = 60,
};

/* An event that could not be spooled. */
struct unspooled {
    struct unspooled *next;
    size_t size;
    char object[];
};

struct jobs {
    const struct jobs_database *kind;
    void *database; /* of the thread, once it runs */
    struct jobs_sql sql;
    pthread_t thread;
    bool started;
    char said[MESSAGE]; /* by the thread, of the database as it is now; empty when that takes events */

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    bool closing, finished;              /* finished: the thread has */
    char source[33];                     /* of our events: a random number, in hex */
    int64_t number;                      /* of the last one */
    struct spool *adopted[MOST_ADOPTED]; /* left by others; delivered before our own */
    size_t adopted_count;
    struct spool *spool;            /* our own */
    struct unspooled *first, *last; /* later than everything in the spool */
    size_t unspooled, lost;
};

/* ---- events as JSON ---- */

static void set_text(json_t *object, const char *name, const char *text) {
    char valid[MOST_TEXT];
    size_t size = utf8_copy(valid, text, strlen(text), sizeof valid);
    json_object_set_new(object, name, json_stringn(valid, size));
}

/* An object of the values that are known, and of what names this event; free() it. NULL without memory. */
static char *write_object(const struct job_event *event, const char *source, int64_t number) {
    struct jobs_values values;
    jobs_sql_values(&values, event);
    json_t *object = json_object();
    for (int i = 0; i < JOBS_FIELDS; i++)
        if (values.fields[i]) set_text(object, jobs_sql_names[i], values.fields[i]);
    set_text(object, "source", source);
    json_object_set_new(object, "number", json_integer(number));
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

/* The values live as long as the object that is returned; NULL when the text is none. */
static json_t *read_object(const struct buf *text, const char *fields[JOBS_FIELDS],
                           struct jobs_delivery *delivery) {
    json_t *object = json_loadb(text->data, text->size, 0, NULL);
    delivery->source = json_string_value(json_object_get(object, "source"));
    delivery->number = json_integer_value(json_object_get(object, "number"));
    for (int i = 0; i < JOBS_FIELDS; i++)
        fields[i] = json_string_value(json_object_get(object, jobs_sql_names[i]));
    return object;
}

/* ---- the queue: the spool, then what it did not take. With the lock held ---- */

/* The spool that comes first of those that hold something; NULL: none does. */
static struct spool *first_spool(const struct jobs *jobs) {
    for (size_t i = 0; i < jobs->adopted_count; i++)
        if (!spool_empty(jobs->adopted[i])) return jobs->adopted[i];
    return spool_empty(jobs->spool) ? NULL : jobs->spool;
}

static bool queue_empty(const struct jobs *jobs) {
    return !first_spool(jobs) && !jobs->first;
}

static void drop_first_unspooled(struct jobs *jobs) {
    struct unspooled *gone = jobs->first;
    jobs->first = gone->next;
    if (!jobs->first) jobs->last = NULL;
    jobs->unspooled--;
    free(gone);
}

/* Moves events from memory to the spool, as far as it takes them. */
static void spool_unspooled(struct jobs *jobs) {
    int error = 0;
    while (jobs->first && !(error = spool_append(jobs->spool, jobs->first->object, jobs->first->size)))
        drop_first_unspooled(jobs);
    if (error)
        log_once("jobs: the spool file %s takes no more (%s); up to %d events are kept in memory",
                 spool_path(jobs->spool), strerror(-error), MOST_UNSPOOLED);
}

/* `object`: NULL when there was no memory to write it. */
static void queue_add(struct jobs *jobs, const char *object, size_t size) {
    bool room = object && jobs->unspooled < MOST_UNSPOOLED;
    struct unspooled *added = room ? malloc(sizeof *added + size) : NULL;
    if (!added) {
        if (!jobs->lost++) log_line("jobs: there is no room to keep events for the database: they are lost");
        return;
    }
    *added = (struct unspooled){.size = size};
    memcpy(added->object, object, size);
    if (jobs->last)
        jobs->last->next = added;
    else
        jobs->first = added;
    jobs->last = added;
    jobs->unspooled++;
    spool_unspooled(jobs);
}

static int queue_first(struct jobs *jobs, struct buf *object) {
    int error = 0;
    buf_clear(object);
    struct spool *spool = first_spool(jobs);
    if (spool)
        error = spool_first(spool, object);
    else if (!buf_append(object, jobs->first->object, jobs->first->size))
        error = -ENOMEM;
    if (error)
        log_once("jobs: the spool file %s cannot be read: %s", spool_path(spool ? spool : jobs->spool),
                 strerror(-error));
    return error;
}

/* What was first when it was taken still is, even if it has gone from memory to the spool since. */
static void queue_drop_first(struct jobs *jobs) {
    struct spool *spool = first_spool(jobs);
    int error = 0;
    if (spool)
        error = spool_done(spool);
    else
        drop_first_unspooled(jobs);
    if (error)
        log_once("jobs: the spool file %s cannot be changed (%s): after a restart, events may be written "
                 "once more",
                 spool_path(spool), strerror(-error));
}

/* ---- the thread ---- */

/* Says what is new about the database. */
static void tell(struct jobs *jobs, enum jobs_outcome outcome, const char *message,
                 const struct buf *object) {
    if (outcome == JOBS_REFUSED) {
        log_line("jobs: the database refuses an event for good: %s: %.*s", message, (int)object->size,
                 object->data);
    } else if (outcome == JOBS_LATER && strcmp(jobs->said, message) != 0) {
        log_line("jobs: %s; events are kept in %s until the database takes them", message,
                 spool_path(jobs->spool));
        snprintf(jobs->said, sizeof jobs->said, "%s", message);
    } else if (outcome == JOBS_WRITTEN && jobs->said[0]) {
        log_line("jobs: the database takes events again");
        jobs->said[0] = '\0';
    }
}

static enum jobs_outcome deliver(struct jobs *jobs, const struct buf *text) {
    const char *fields[JOBS_FIELDS];
    char message[MESSAGE] = "";
    struct jobs_delivery delivery;
    json_t *object = read_object(text, fields, &delivery);
    enum jobs_outcome outcome = JOBS_REFUSED;
    if (object)
        outcome = jobs->kind->write(jobs->database, fields, &delivery, message, sizeof message);
    else
        snprintf(message, sizeof message, "it is no JSON");
    tell(jobs, outcome, message, text);
    json_decref(object);
    return outcome;
}

/* Waits for *flag, with the lock held, for at most so many seconds; returns it. */
static bool wait_for(struct jobs *jobs, const bool *flag, double seconds) {
    uint64_t until_ns = clock_mono_ns() + (seconds > 0 ? (uint64_t)(seconds * 1e9) : 0);
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
                             .tv_nsec = (long)(until_ns % 1000000000)};
    while (!*flag && !pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until))
        ;
    return *flag;
}

static void *deliver_all(void *context) {
    struct jobs *jobs = context;
    struct buf object = {0};
    unsigned pause = FIRST_PAUSE_S;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        if (queue_empty(jobs)) {
            pthread_mutex_unlock(&jobs->lock);
            jobs->kind->rest(jobs->database);
            pthread_mutex_lock(&jobs->lock);
        }
        while (queue_empty(jobs) && !jobs->closing)
            pthread_cond_wait(&jobs->changed, &jobs->lock);
        if (queue_empty(jobs)) break;
        int error = queue_first(jobs, &object);
        pthread_mutex_unlock(&jobs->lock);
        enum jobs_outcome outcome = error ? JOBS_LATER : deliver(jobs, &object);
        pthread_mutex_lock(&jobs->lock);
        if (outcome != JOBS_LATER) {
            queue_drop_first(jobs);
            pause = FIRST_PAUSE_S;
            continue;
        }
        if (jobs->closing) break;
        wait_for(jobs, &jobs->closing, pause);
        spool_unspooled(jobs);
        pause = pause * 2 < LONGEST_PAUSE_S ? pause * 2 : LONGEST_PAUSE_S;
    }
    buf_finish(&object);
    jobs->finished = true;
    pthread_cond_signal(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* The thread takes no signal: they are the caller's business. */
static void start(struct jobs *jobs) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&jobs->thread, NULL, deliver_all, jobs);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    jobs->started = !error;
    if (error)
        log_once("jobs: no thread for the database (%s); events stay in the spool file", strerror(error));
}

/* ---- opening, writing, closing ---- */

static const struct jobs_database *kind_of(const char *url) {
    if (strncmp(url, "sqlite:", 7) == 0) return &jobs_sqlite;
    if (strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0) return &jobs_postgres;
    return NULL;
}

static const char wrong_url[] = "the database must be sqlite:PATH or postgresql://...";

static void destroy(struct jobs *jobs) {
    if (jobs->database) jobs->kind->close(jobs->database);
    while (jobs->first)
        drop_first_unspooled(jobs);
    while (jobs->adopted_count)
        spool_close(jobs->adopted[--jobs->adopted_count]);
    spool_close(jobs->spool);
    jobs_sql_finish(&jobs->sql);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

static void name_source(struct jobs *jobs) {
    uint64_t random[2];
    ids_random(random);
    snprintf(jobs->source, sizeof jobs->source, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

static struct jobs *create(const struct jobs_database *kind, struct spool *spool) {
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs) return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    jobs->kind = kind;
    jobs->spool = spool;
    name_source(jobs);
    return jobs;
}

struct jobs *jobs_open(const char *url, const char *sql, struct spool *spool, const char **error) {
    const struct jobs_database *kind = kind_of(url);
    struct jobs *jobs = kind ? create(kind, spool) : NULL;
    if (!jobs) {
        spool_close(spool);
        *error = kind ? "no memory" : wrong_url;
        return NULL;
    }
    *error = sql ? jobs_sql_parse(&jobs->sql, sql) : NULL;
    if (!*error) jobs->database = kind->open(url, sql ? &jobs->sql : NULL, error);
    if (!*error) return jobs;
    destroy(jobs);
    return NULL;
}

void jobs_adopt(struct jobs *jobs, const char *path) {
    int error;
    if (access(path, F_OK) != 0 || jobs->adopted_count == MOST_ADOPTED) return;
    struct spool *spool = spool_open(path, &error);
    if (!spool) return;
    if (spool_empty(spool))
        spool_close(spool);
    else
        jobs->adopted[jobs->adopted_count++] = spool;
}

void jobs_begin(struct jobs *jobs) {
    if (!queue_empty(jobs)) start(jobs);
}

bool jobs_reach(const char *url, const char *sql, char *message, size_t room) {
    const struct jobs_database *kind = kind_of(url);
    struct jobs_sql statement = {0};
    const char *error = kind ? NULL : wrong_url;
    void *database = NULL;
    if (!error && sql) error = jobs_sql_parse(&statement, sql);
    if (!error) database = kind->open(url, sql ? &statement : NULL, &error);
    if (error) snprintf(message, room, "%s", error);
    bool reached = database && kind->reach(database, message, room);
    if (database) kind->close(database);
    jobs_sql_finish(&statement);
    return reached;
}

void jobs_write(struct jobs *jobs, const struct job_event *event) {
    pthread_mutex_lock(&jobs->lock);
    char *object = write_object(event, jobs->source, ++jobs->number);
    queue_add(jobs, object, object ? strlen(object) : 0);
    pthread_cond_signal(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    free(object);
    if (!jobs->started) start(jobs);
}

void jobs_close(struct jobs *jobs, double seconds) {
    if (!jobs) return;
    pthread_mutex_lock(&jobs->lock);
    jobs->closing = true;
    pthread_cond_signal(&jobs->changed);
    bool hangs = jobs->started && !wait_for(jobs, &jobs->finished, seconds);
    pthread_mutex_unlock(&jobs->lock);
    if (hangs) {
        pthread_detach(jobs->thread); /* in a database; it keeps what it uses until the process ends */
        return;
    }
    if (jobs->started) pthread_join(jobs->thread, NULL);
    destroy(jobs);
}

/* ---- passwords ---- */

static void hide(char *from, const char *to) {
    if (from < to) memset(from, '*', (size_t)(to - from));
}

/* One character that may be percent-encoded; returns what follows it. */
static const char *decode(const char *text, char *decoded) {
    *decoded = *text;
    if (*text != '%' || !isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
        return text + 1;
    const char digits[] = {text[1], text[2], '\0'};
    *decoded = (char)strtol(digits, NULL, 16);
    return text + 3;
}

/* Whether the name of a parameter, which ends at `end`, ends in "password", in whatever way that is written. */
static bool is_password(const char *name, const char *end) {
    char last[sizeof "password"] = "";
    size_t room = sizeof last - 1;
    for (size_t count = 0; name < end; count++) {
        if (count >= room) memmove(last, last + 1, room - 1);
        name = decode(name, &last[count < room ? count : room - 1]);
    }
    return strcasecmp(last, "password") == 0;
}

void jobs_hide_password(char *url) {
    char *user = strstr(url, "://");
    if (!user) return;
    user += 3;
    char *at = strrchr(user, '@'), *colon = strchr(user, ':');
    if (at && colon && colon < at) hide(colon + 1, at);
    for (char *mark = user; (mark = strpbrk(mark, "?&")); mark++) {
        char *name = mark + 1, *value = name + strcspn(name, "=&");
        if (*value == '=' && is_password(name, value)) hide(value + 1, value + 1 + strcspn(value + 1, "&"));
    }
}
