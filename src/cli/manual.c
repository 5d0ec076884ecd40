#include "cli/manual.h"

#include "base/buf.h"
#include "cli/die.h"
#include "settings.h"

#include <string.h>

static const char summary[] = "runs ComfyUI traced to Datadog, within a memory limit, and starts it again";

static const char description[] =
    "Runs COMMAND with libcomfydd.so preloaded, waits for its end, tells why it ended, and starts it again "
    "where "
    "that is wanted. What is in LD_PRELOAD already stays there. All of COMMAND's descendants belong to the "
    "run: "
    "those "
    "whose parents have ended are reaped, and before a restart those still there are killed. Works as PID 1.";

/* The other subcommands. */
static const struct {
    char name[8];
    char arguments[24];
    char text[640];
} commands[] = {
    {"doctor", "[-- PYTHON]",
     "For when no traces arrive. Goes the way of a span, from the settings over the library, PYTHON "
     "(`python3`, if "
     "none is named) and flight memory to the Datadog agent, and looks at what `comfydd run` needs besides. "
     "Prints a line for each thing, with what to do where there is a problem. Run it as the user and with "
     "the environment that ComfyUI has. Changes nothing. Exit status 0: all is well; 1: not."},
    {"recover", "[--dry-run] [FILE...]",
     "Sends what dead processes have left in their flight memories, as the next start would: finished spans "
     "as they are, open ones closed with the reason of the death, as far as it can be told. Jobs that were "
     "running are recorded as failed where `comfydd run` would record them. Without FILE: all that is in "
     "COMFYDD_FLIGHT_FOLDER. Files of living processes, of other users and of other versions are left alone, "
     "and "
     "what was not delivered is kept. Exit status 0: all has been delivered; 1: not."},
};

/* After the options. Markdown's backticks mark what is to be typed. */
static const struct {
    char title[16];
    char text[640];
} sections[] = {
    {"MEMORY LIMIT",
     "Where control groups can be written, COMMAND runs in one of its own, below ours: cgroup v1, or v2 when "
     "its "
     "memory controller can be used (for a systemd unit: `Delegate=memory`). At the limit the kernel kills. "
     "Memory in "
     "swap does not count. Elsewhere RLIMIT_DATA is set, with a warning: it counts the private memory of "
     "each process "
     "by itself, and at the limit allocations fail. A default above what the machine has does no harm."},
    {"SIGNALS", "Signals are passed on to COMMAND. With a terminal it shares our process group and takes "
                "part in job control; "
                "without one it has its own. After a second SIGINT or SIGTERM it is killed once `--grace` "
                "has passed since the "
                "first. A COMMAND that was told to stop is not started again."},
    {"EXIT STATUS", "COMMAND's own, or 128 + n when signal n ended it. 125: comfydd itself failed; 126: "
                    "COMMAND cannot be executed; "
                    "127: it is not found."},
};

/* Appends the text without its backticks, or with troff's bold in their place. */
static void append(struct buf *out, const char *text, bool troff) {
    bool bold = false;
    for (; *text; text++)
        if (*text == '`') {
            bold = !bold;
            if (troff) buf_string(out, bold ? "\\fB" : "\\fR");
        } else if (troff && *text == '-')
            buf_string(out, "\\-");
        else
            buf_append(out, text, 1);
}

static char *finished(struct buf *text) {
    buf_append(text, "", 1);
    if (text->failed) die(DIE_OURS, "no memory");
    return text->data;
}

char *manual_of_option(const struct setting *row) {
    struct buf text = {0};
    append(&text, row->doc, false);
    buf_string(&text, " [");
    append(&text, settings_default(row), false);
    buf_string(&text, "; ");
    buf_string(&text, row->name);
    buf_string(&text, "]");
    return finished(&text);
}

char *manual_of_run(void) {
    struct buf text = {0};
    append(&text, description, false);
    buf_string(&text, "\v");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        buf_string(&text, sections[i].title);
        buf_string(&text, ": ");
        append(&text, sections[i].text, false);
        buf_string(&text, "\n\n");
    }
    buf_string(&text, "The variables in brackets are read where the option is not given.");
    return finished(&text);
}

char *manual_of_command(const char *name) {
    struct buf text = {0};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0) append(&text, commands[i].text, false);
    return finished(&text);
}

/* A subcommand and its arguments, in troff. */
static void append_usage(struct buf *text, const char *name, const char *arguments) {
    buf_string(text, "\\fBcomfydd ");
    append(text, name, true);
    buf_string(text, "\\fR ");
    append(text, arguments, true);
    buf_string(text, "\n");
}

void manual_print(FILE *out) {
    struct buf text = {0};
    buf_string(&text, ".TH COMFYDD 1 \"\" \"comfydd " COMFYDD_VERSION "\"\n.SH NAME\ncomfydd \\- ");
    append(&text, summary, true);
    buf_string(&text, "\n.SH SYNOPSIS\n");
    append_usage(&text, "run", "[OPTION...] [--] COMMAND...");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        buf_string(&text, ".br\n");
        append_usage(&text, commands[i].name, commands[i].arguments);
    }
    buf_string(&text, ".SH DESCRIPTION\n");
    append(&text, description, true);
    buf_string(&text,
               "\n.SH OPTIONS\nEach is a variable too, which is read where the option is not given.\n");
    for (const struct setting *row = settings; row < settings + settings_count; row++) {
        if (!*row->option) continue;
        buf_string(&text, ".TP\n\\fB\\-\\-");
        append(&text, row->option, true);
        buf_string(&text, "\\fR");
        if (*row->argument) buf_string(&text, "=\\fI");
        buf_string(&text, row->argument);
        buf_string(&text, "\\fR, \\fB");
        buf_string(&text, row->name);
        buf_string(&text, "\\fR\n");
        append(&text, row->doc, true);
        buf_string(&text, " Default: ");
        append(&text, settings_default(row), true);
        buf_string(&text, ".\n");
    }
    buf_string(&text, ".SH OTHER COMMANDS\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        buf_string(&text, ".TP\n");
        append_usage(&text, commands[i].name, commands[i].arguments);
        append(&text, commands[i].text, true);
        buf_string(&text, "\n");
    }
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        buf_string(&text, ".SH ");
        buf_string(&text, sections[i].title);
        buf_string(&text, "\n");
        append(&text, sections[i].text, true);
        buf_string(&text, "\n");
    }
    fputs(finished(&text), out);
    buf_finish(&text);
}
