#include "cli/jobs_database.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUSY_MS = 5000 };

struct sqlite {
    char *path;
    const struct jobs_sql *statement;
    struct jobs_sql ours; /* for our table */
    sqlite3 *connection;  /* NULL when there is none */
    sqlite3_stmt *prepared;
    sqlite3_stmt *mark; /* NULL with our table */
};

static void *open_sqlite(const char *where, const struct jobs_sql *sql, const char **error) {
    const char *path = where + strlen("sqlite:");
    if (!*path || strncmp(path, "//", 2) == 0 || strcmp(path, ":memory:") == 0) {
        *error = "the database must be sqlite:PATH, a relative or absolute path of a file";
        return NULL;
    }
    struct sqlite *database = calloc(1, sizeof *database);
    char *copy = strdup(path);
    const char *wrong = database && copy ? NULL : "no memory";
    if (!wrong && !sql) wrong = jobs_sql_parse(&database->ours, JOBS_INSERT);
    if (wrong) {
        *error = wrong;
        free(copy);
        free(database);
        return NULL;
    }
    database->path = copy;
    database->statement = sql ? sql : &database->ours;
    return database;
}

static void rest(void *self) {
    struct sqlite *database = self;
    sqlite3_finalize(database->prepared);
    sqlite3_finalize(database->mark);
    sqlite3_close(database->connection); /* a transaction that is open is rolled back */
    database->prepared = database->mark = NULL;
    database->connection = NULL;
}

static void close_sqlite(void *self) {
    struct sqlite *database = self;
    rest(database);
    jobs_sql_finish(&database->ours);
    free(database->path);
    free(database);
}

/* ---- writing ---- */

/* The journal of a database that is somebody else's stays as it is. */
static int make_our_table(sqlite3 *connection) {
    return sqlite3_exec(connection,
                        "PRAGMA journal_mode = WAL;" JOBS_CREATE_TABLE("text") ";" JOBS_CREATE_INDEX, NULL,
                        NULL, NULL);
}

static int connect_and_prepare(struct sqlite *database) {
    const struct jobs_sql *statement = database->statement;
    int code = sqlite3_open_v2(database->path, &database->connection,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (code) return code;
    sqlite3_busy_timeout(database->connection, BUSY_MS);
    if (statement == &database->ours)
        code = make_our_table(database->connection);
    else
        code = sqlite3_exec(database->connection, JOBS_CREATE_MARKS, NULL, NULL, NULL);
    if (!code && statement != &database->ours)
        code = sqlite3_prepare_v2(database->connection, JOBS_MARK, -1, &database->mark, NULL);
    if (!code)
        code = sqlite3_prepare_v2(database->connection, statement->text, -1, &database->prepared, NULL);
    return code;
}

static int bind(struct sqlite *database, const char *const fields[JOBS_FIELDS]) {
    const struct jobs_sql *statement = database->statement;
    int code = SQLITE_OK;
    for (size_t i = 0; i < statement->count && !code; i++) {
        const char *value = fields[statement->parameters[i]];
        int place = (int)i + 1;
        if (value && statement->parameters[i] == JOBS_PEAK_MEMORY)
            code = sqlite3_bind_int64(database->prepared, place, strtoll(value, NULL, 10));
        else
            code = sqlite3_bind_text(database->prepared, place, value, -1, SQLITE_STATIC);
    }
    return code;
}

/* Runs the statement to its end; rows that it may give are passed over. */
static int execute(sqlite3_stmt *statement) {
    int code;
    do
        code = sqlite3_step(statement);
    while (code == SQLITE_ROW);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* *again: it has been executed before. */
static int mark(struct sqlite *database, const struct jobs_delivery *delivery, bool *again) {
    int code = sqlite3_bind_text(database->mark, 1, delivery->source, -1, SQLITE_STATIC);
    if (!code) code = sqlite3_bind_int64(database->mark, 2, delivery->number);
    if (!code) code = execute(database->mark);
    *again = !code && sqlite3_changes(database->connection) == 0;
    return code;
}

static int execute_once(struct sqlite *database, const struct jobs_delivery *delivery) {
    bool again = false;
    if (!database->mark || !delivery->source) return execute(database->prepared);
    int code = sqlite3_exec(database->connection, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (!code) code = mark(database, delivery, &again);
    if (!code && !again) code = execute(database->prepared);
    return code ? code : sqlite3_exec(database->connection, "COMMIT", NULL, NULL, NULL);
}

static enum jobs_outcome write_sqlite(void *self, const char *const fields[JOBS_FIELDS],
                                      const struct jobs_delivery *delivery, char *message, size_t room) {
    struct sqlite *database = self;
    int code = database->prepared ? SQLITE_OK : connect_and_prepare(database);
    if (!code && sqlite3_bind_parameter_count(database->prepared) != (int)database->statement->count) {
        snprintf(message, room, "the SQL has parameters that have no name of ours, such as ?");
        rest(database);
        return JOBS_LATER;
    }
    if (!code) code = bind(database, fields);
    if (!code) code = execute_once(database, delivery);
    if (!code) return JOBS_WRITTEN;
    snprintf(message, room, "%s: %s", database->path,
             database->connection ? sqlite3_errmsg(database->connection) : sqlite3_errstr(code));
    rest(database);
    bool refused = (code & 0xff) == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH || code == SQLITE_TOOBIG;
    return refused ? JOBS_REFUSED : JOBS_LATER;
}

/* A file that is not there yet is made with the first event. */
static int reach_new(const char *path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    return access(slash ? folder : ".", W_OK | X_OK) == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int reach_file(struct sqlite *database) {
    int code = sqlite3_open_v2(database->path, &database->connection, SQLITE_OPEN_READWRITE, NULL);
    if (code) return code;
    sqlite3_busy_timeout(database->connection, BUSY_MS);
    code = sqlite3_exec(database->connection, "BEGIN IMMEDIATE", NULL, NULL, NULL); /* never committed */
    if (!code && database->statement == &database->ours)
        code = sqlite3_exec(database->connection, JOBS_CREATE_TABLE("text"), NULL, NULL, NULL);
    if (!code)
        code = sqlite3_prepare_v2(database->connection, database->statement->text, -1, &database->prepared,
                                  NULL);
    return code;
}

static bool reach(void *self, char *message, size_t room) {
    struct sqlite *database = self;
    bool is_there = access(database->path, F_OK) == 0;
    if (!is_there && database->statement != &database->ours) {
        snprintf(message, room, "%s is not there, so it has no table for the SQL", database->path);
        return false;
    }
    rest(database);
    int code = is_there ? reach_file(database) : reach_new(database->path);
    if (code)
        snprintf(message, room, "%s: %s", database->path,
                 database->connection ? sqlite3_errmsg(database->connection) : sqlite3_errstr(code));
    rest(database);
    return !code;
}

const struct jobs_database jobs_sqlite = {open_sqlite, write_sqlite, reach, rest, close_sqlite};
