/* PostgreSQL. libpq, with the libraries behind it (TLS, Kerberos, LDAP), is loaded when the first such URL is opened, so that
 * a launcher that does not use it is not slowed down by it, and runs where it is missing. */
#include "cli/jobs_database.h"

#if __has_include(<libpq-fe.h>)

#include "base/clock.h"
#include "base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_S = 10 }; /* for a connection, and for an answer; connect_timeout in the URL changes both */

/* clang-format off */
#define FUNCTIONS(F) \
    F(PQcancel) \
    F(PQclear) \
    F(PQcmdTuples) \
    F(PQconnectdbParams) \
    F(PQconninfoFree) \
    F(PQconninfoParse) \
    F(PQconsumeInput) \
    F(PQerrorMessage) \
    F(PQfinish) \
    F(PQfreeCancel) \
    F(PQfreemem) \
    F(PQgetCancel) \
    F(PQgetResult) \
    F(PQisBusy) \
    F(PQresultErrorField) \
    F(PQresultStatus) \
    F(PQsendPrepare) \
    F(PQsendQueryParams) \
    F(PQsetNoticeProcessor) \
    F(PQsocket) \
    F(PQstatus)
/* clang-format on */

static struct {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} pq;

struct postgres {
    char *url;
    char *password; /* to be kept out of messages; NULL when none is known */
    const struct jobs_sql *statement;
    struct jobs_sql ours; /* for our table */
    unsigned patience_s;
    PGconn *connection;                                      /* NULL when there is none */
    enum { MARKS_UNKNOWN, MARKS_KEPT, MARKS_REFUSED } marks; /* the notes of deliveries */
};

static bool load_libpq(void) {
    if (pq.PQstatus) return true;
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    bool all = library;
#define LOOK_UP(name) all = all && (pq.name = (__typeof__(pq.name))dlsym(library, #name));
    FUNCTIONS(LOOK_UP)
#undef LOOK_UP
    if (!all) pq.PQstatus = NULL;
    return all;
}

/* ---- the URL ---- */

/* What libpq would take for part of the host or the database's name, and then show in its messages, although it was meant
 * to be part of a password. */
static bool ambiguous(const char *url) {
    const char *at = strstr(url, "://") + 3;
    size_t user = strcspn(at, "@/");
    if (at[user] == '@') at += user + 1;
    return memchr(at, '@', strcspn(at, "?"));
}

/* libpq's own messages repeat parts of the URL, so they are not shown. */
static const char *check_url(struct postgres *database) {
    if (ambiguous(database->url))
        return "the database's URL has a / or @ too many: in a user name or password write %2F and %40";
    char *message = NULL;
    PQconninfoOption *options = pq.PQconninfoParse(database->url, &message);
    pq.PQfreemem(message);
    if (!options)
        return "the database's URL must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE";
    bool port_is_number = true; /* it is a password where the host was forgotten: USER:PASSWORD */
    for (PQconninfoOption *option = options; option->keyword; option++) {
        if (!option->val) continue;
        if (strcmp(option->keyword, "password") == 0) database->password = strdup(option->val);
        if (strcmp(option->keyword, "connect_timeout") == 0)
            database->patience_s = (unsigned)atoi(option->val);
        if (strcmp(option->keyword, "port") == 0)
            port_is_number = !option->val[strspn(option->val, "0123456789,")];
    }
    pq.PQconninfoFree(options);
    if (!port_is_number) return "the database's URL has no number for a port";
    if (database->patience_s < 2 || database->patience_s > 60) database->patience_s = PATIENCE_S;
    return NULL;
}

static void rest(void *self) {
    struct postgres *database = self;
    if (database->connection) pq.PQfinish(database->connection);
    database->connection = NULL;
}

static void close_postgres(void *self) {
    struct postgres *database = self;
    rest(database);
    jobs_sql_finish(&database->ours);
    free(database->url);
    free(database->password);
    free(database);
}

static void *open_postgres(const char *where, const struct jobs_sql *sql, const char **error) {
    if (!load_libpq()) {
        *error = "PostgreSQL needs libpq.so.5 (Debian and Ubuntu: apt-get install libpq5)";
        return NULL;
    }
    struct postgres *database = calloc(1, sizeof *database);
    if (database) database->url = strdup(where);
    if (!database || !database->url) {
        free(database);
        *error = "no memory";
        return NULL;
    }
    database->statement = sql ? sql : &database->ours;
    *error = check_url(database);
    if (!*error && !sql) *error = jobs_sql_parse(&database->ours, JOBS_INSERT);
    if (!*error) return database;
    close_postgres(database);
    return NULL;
}

/* ---- messages ---- */

/* One line, without the password: libpq does not show it, but a server or a proxy may. */
static void say(const struct postgres *database, const char *text, char *message, size_t room) {
    snprintf(message, room, "PostgreSQL: %s", text && *text ? text : "no connection");
    message[strcspn(message, "\n")] = '\0';
    const char *password = database->password;
    size_t length = password ? strlen(password) : 0;
    for (char *at = message; length && (at = strstr(at, password)); at += length)
        memset(at, '*', length);
}

static void no_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

/* ---- statements ---- */

static bool connect_now(struct postgres *database) {
    char patience[16];
    snprintf(patience, sizeof patience, "%u", database->patience_s);
    /* What stands after dbname counts more than the URL in it, what stands before less. */
    const char *const keywords[] = {"application_name", "dbname", "client_encoding", "connect_timeout", NULL};
    const char *const values[] = {"comfydd", database->url, "UTF8", patience, NULL};
    database->connection = pq.PQconnectdbParams(keywords, values, 1);
    if (!database->connection || pq.PQstatus(database->connection) != CONNECTION_OK) return false;
    pq.PQsetNoticeProcessor(database->connection, no_notice, NULL);
    return true;
}

/* Waits until the whole answer is here, for the given time. */
static bool answered(struct postgres *database) {
    uint64_t until = clock_mono_ns() + database->patience_s * UINT64_C(1000000000);
    while (pq.PQisBusy(database->connection)) {
        uint64_t now = clock_mono_ns();
        struct pollfd ready = {.fd = pq.PQsocket(database->connection), .events = POLLIN};
        int got = now < until ? poll(&ready, 1, (int)((until - now) / 1000000) + 1) : 0;
        if (got == 0 || (got < 0 && errno != EINTR)) return false;
        if (got > 0 && !pq.PQconsumeInput(database->connection)) return false;
    }
    return true;
}

/* A server would go on with a statement whose client has gone, and do it late: it must be told to give up. Whether it then
 * did it or gave up is in its answer. */
static bool answered_or_cancelled(struct postgres *database) {
    if (answered(database)) return true;
    PGcancel *cancel = pq.PQgetCancel(database->connection);
    char ignored[256];
    bool told = cancel && pq.PQcancel(cancel, ignored, sizeof ignored);
    pq.PQfreeCancel(cancel);
    return told && answered(database);
}

/* The answer to what was sent. *code: empty when it was done, else its SQLSTATE, or "-" when there is no answer. Returns
 * whether it has changed a row. */
static bool take_answer(struct postgres *database, bool is_sent, char code[6], char *message, size_t room) {
    PGresult *result = NULL, *next;
    bool changed = false;
    strcpy(code, "-");
    if (is_sent) {
        if (!answered_or_cancelled(database)) {
            say(database, "no answer in time, or the connection broke", message, room);
            return false;
        }
        result = pq.PQgetResult(database->connection);
    }
    const char *state = result ? pq.PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    ExecStatusType status = result ? pq.PQresultStatus(result) : PGRES_FATAL_ERROR;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        code[0] = '\0';
    else if (state)
        snprintf(code, 6, "%s", state);
    bool is_copy = status == PGRES_COPY_IN || status == PGRES_COPY_OUT;
    if (is_copy)
        say(database, "a COPY cannot be used here", message, room);
    else if (code[0])
        say(database,
            state ? pq.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
                  : pq.PQerrorMessage(database->connection),
            message, room);
    else
        changed = strcmp(pq.PQcmdTuples(result), "0") != 0;
    if (result) pq.PQclear(result);
    /* Of a COPY that is not gone on with there would be results for ever. */
    while (!is_copy && answered(database) && (next = pq.PQgetResult(database->connection)))
        pq.PQclear(next);
    return changed;
}

/* Runs one statement; the rest as with take_answer. */
static bool execute(struct postgres *database, const char *sql, size_t count, const char *const *values,
                    char code[6], char *message, size_t room) {
    bool is_sent = pq.PQsendQueryParams(database->connection, sql, (int)count, NULL, values, NULL, NULL, 0);
    return take_answer(database, is_sent, code, message, room);
}

/* The statement goes as one message with its values beside it: prepared, but without a name, which a pooler such as
 * PgBouncer would have on one connection only. */
static void write_row(struct postgres *database, const char *const fields[JOBS_FIELDS], char code[6],
                      char *message, size_t room) {
    const struct jobs_sql *statement = database->statement;
    const char *values[JOBS_SQL_MOST];
    for (size_t i = 0; i < statement->count; i++)
        values[i] = fields[statement->parameters[i]];
    execute(database, statement->text, statement->count, values, code, message, room);
}

/* False, with the reason in *message, when there is no connection. */
static bool connect_or_say(struct postgres *database, char *message, size_t room) {
    if (database->connection || connect_now(database)) return true;
    say(database, database->connection ? pq.PQerrorMessage(database->connection) : "no memory", message,
        room);
    rest(database);
    return false;
}

static const char no_table[] = "42P01", no_privilege[] = "42501";

/* The server parses the statement, which shows a wrong table or type. Our own table may be missing: it is made. */
static bool reach(void *self, char *message, size_t room) {
    struct postgres *database = self;
    char code[6];
    if (!connect_or_say(database, message, room)) return false;
    bool is_sent = pq.PQsendPrepare(database->connection, "", database->statement->text, 0, NULL);
    take_answer(database, is_sent, code, message, room);
    rest(database);
    return !code[0] || (database->statement == &database->ours && strcmp(code, no_table) == 0);
}

/* Our table. It is made only when it is missing: whoever may write to it need not be allowed to make one. */
static void write_ours(struct postgres *database, const char *const fields[JOBS_FIELDS], char code[6],
                       char *message, size_t room) {
    write_row(database, fields, code, message, room);
    if (strcmp(code, no_table) != 0) return;
    execute(database, JOBS_CREATE_TABLE("timestamptz"), 0, NULL, code, message, room);
    if (!code[0]) execute(database, JOBS_CREATE_INDEX, 0, NULL, code, message, room);
    if (!code[0])
        write_row(database, fields, code, message, room);
    else
        strcpy(code, "-");
}

/* Finds out whether deliveries can be noted. *code: empty when that is known now. */
static void find_marks(struct postgres *database, char code[6], char *message, size_t room) {
    execute(database, "SELECT 1 FROM comfydd_delivered LIMIT 0", 0, NULL, code, message, room);
    if (strcmp(code, no_table) == 0) execute(database, JOBS_CREATE_MARKS, 0, NULL, code, message, room);
    database->marks = code[0] ? MARKS_UNKNOWN : MARKS_KEPT;
    if (strcmp(code, no_privilege) != 0) return;
    log_once(
        "jobs: the role may not make or use the table comfydd_delivered: when a connection breaks between a "
        "commit and its answer, an event is written twice (docs/jobs.md)");
    database->marks = MARKS_REFUSED;
    code[0] = '\0';
}

/* In the transaction that is open; returns whether the event is new. */
static bool mark(struct postgres *database, const struct jobs_delivery *delivery, char code[6], char *message,
                 size_t room) {
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, delivery->number);
    const char *const values[] = {delivery->source, number};
    bool changed = execute(database, JOBS_MARK, 2, values, code, message, room);
    if (strcmp(code, no_table) == 0) database->marks = MARKS_UNKNOWN; /* it has been dropped */
    return !code[0] && changed;
}

/* The user's statement. After an error in the transaction the connection is given up, and the transaction with it. */
static void write_theirs(struct postgres *database, const char *const fields[JOBS_FIELDS],
                         const struct jobs_delivery *delivery, char code[6], char *message, size_t room) {
    code[0] = '\0';
    if (database->marks == MARKS_UNKNOWN) find_marks(database, code, message, room);
    if (code[0]) return;
    if (database->marks == MARKS_REFUSED || !delivery->source) {
        write_row(database, fields, code, message, room);
        return;
    }
    execute(database, "BEGIN", 0, NULL, code, message, room);
    if (!code[0] && mark(database, delivery, code, message, room))
        write_row(database, fields, code, message, room);
    if (!code[0]) execute(database, "COMMIT", 0, NULL, code, message, room);
}

static enum jobs_outcome write_postgres(void *self, const char *const fields[JOBS_FIELDS],
                                        const struct jobs_delivery *delivery, char *message, size_t room) {
    struct postgres *database = self;
    char code[6];
    if (!connect_or_say(database, message, room)) return JOBS_LATER;
    if (database->statement == &database->ours)
        write_ours(database, fields, code, message, room);
    else
        write_theirs(database, fields, delivery, code, message, room);
    if (!code[0]) return JOBS_WRITTEN;
    rest(database);
    /* Classes 22, data exception, and 23, integrity constraint violation. */
    return strncmp(code, "22", 2) == 0 || strncmp(code, "23", 2) == 0 ? JOBS_REFUSED : JOBS_LATER;
}

const struct jobs_database jobs_postgres = {open_postgres, write_postgres, reach, rest, close_postgres};

#else

static void *open_postgres(const char *where, const struct jobs_sql *sql, const char **error) {
    (void)where;
    (void)sql;
    *error =
        "this comfydd was built without PostgreSQL: libpq-fe.h (Debian and Ubuntu: libpq-dev) was missing";
    return NULL;
}

const struct jobs_database jobs_postgres = {.open = open_postgres};

#endif
