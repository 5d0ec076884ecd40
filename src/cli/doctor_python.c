#include "cli/doctor_python.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS UINT64_C(30000000000)
#define NOT_STARTED 127

/* Lines of "name value". comfydd_start: as the shim asks whether the library is at work. A Python that it does not work
 * in hears why when it opens an execution.py, whether there is one or not. */
static const char questions[] = "import sys\n"
                                "print('version', '%d.%d.%d' % sys.version_info[:3])\n"
                                "print('loaded', int('libcomfydd' in open('/proc/self/maps').read()))\n"
                                "try:\n"
                                "    from importlib.metadata import version\n"
                                "    print('ddtrace', version('ddtrace'))\n"
                                "except Exception:\n"
                                "    pass\n"
                                "try:\n"
                                "    import ctypes\n"
                                "    print('watches', ctypes.PyDLL(None).comfydd_start())\n"
                                "except Exception as e:\n"
                                "    print('comfydd: its state cannot be asked for:', e)\n"
                                "try:\n"
                                "    open('./execution.py').close()\n"
                                "except OSError:\n"
                                "    pass\n"
                                "print('end')\n";

static _Noreturn void become(const char *python, const char *preload, int output) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    setenv("LD_PRELOAD", preload, 1);
    execlp(python, python, "-c", questions, (char *)NULL);
    printf("comfydd: %s: %s\n", python, strerror(errno));
    fflush(stdout);
    _exit(NOT_STARTED);
}

/* All that comes, as far as it fits and until the deadline. */
static void read_until(int input, char *text, size_t room, uint64_t deadline_ns) {
    size_t used = 0;
    for (uint64_t now; used + 1 < room && (now = clock_mono_ns()) < deadline_ns;) {
        struct pollfd ready = {.fd = input, .events = POLLIN};
        if (poll(&ready, 1, (int)((deadline_ns - now) / 1000000) + 1) <= 0) continue;
        ssize_t got = read(input, text + used, room - used - 1);
        if (got <= 0) break;
        used += (size_t)got;
    }
    text[used] = '\0';
}

static const char *value_of(const char *line, const char *name) {
    size_t size = strlen(name);
    return strncmp(line, name, size) == 0 && line[size] == ' ' ? line + size + 1 : NULL;
}

static void take(struct doctor_python *python, const char *line) {
    const char *value;
    if ((value = value_of(line, "version")))
        snprintf(python->version, sizeof python->version, "%s", value);
    else if ((value = value_of(line, "ddtrace")))
        snprintf(python->ddtrace, sizeof python->ddtrace, "%s", value);
    else if ((value = value_of(line, "loaded")))
        python->loaded = *value == '1';
    else if ((value = value_of(line, "watches")))
        python->watches = *value == '1';
    else if ((value = value_of(line, "comfydd:")))
        snprintf(python->problem, sizeof python->problem, "%s", value);
    else if (strcmp(line, "end") == 0)
        python->answered = true;
}

struct doctor_python doctor_python_ask(const char *name, const char *preload) {
    struct doctor_python python = {0};
    char text[8192];
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return python;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) become(name, preload, ends[1]);
    close(ends[1]);
    if (pid > 0) {
        read_until(ends[0], text, sizeof text, clock_mono_ns() + PATIENCE_NS);
        kill(pid, SIGKILL); /* it has ended, or never will */
        waitpid(pid, NULL, 0);
        for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
            take(&python, line);
    }
    close(ends[0]);
    if (!python.answered && !python.problem[0])
        snprintf(python.problem, sizeof python.problem, "%s gives no answer", name);
    return python;
}
