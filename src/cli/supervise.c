#include "cli/supervise.h"

#include "base/clock.h"
#include "base/file.h"
#include "cli/die.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_STRANGERS 64

static struct {
    int signals;                 /* the signalfd */
    int interrupt;               /* one for all of them but SIGCHLD; never read */
    sigset_t mask;               /* as we were started with; the command's again */
    struct sigaction on_sigchld; /* likewise */
    double ticked;
    /* Children that we had before the command, because whoever started them has become us (exec): a start script's ssh. */
    pid_t strangers[MOST_STRANGERS]; /* 0: none, or reaped */
} supervisor;

/* The command while it runs. */
struct run {
    pid_t pid;
    bool own_group; /* of processes: nobody but us sends it signals */
    bool ended;
    sigset_t early;    /* signals that came before it was there */
    sigset_t sent;     /* signals that it has had, from us or from the terminal */
    int stops;         /* SIGINTs and SIGTERMs */
    double first_stop; /* when; on now()'s clock */
    double we_stopped; /* likewise */
    struct supervise_end end;
};

static double now(void) {
    return (double)clock_mono_ns() / 1e9;
}

/* ---- children ---- */

/* -1 when there is no such process. */
static long parent_of(long pid) {
    char path[64], text[512];
    long parent = -1;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (file_read(path, text, sizeof text) < 0) return -1;
    const char *name_end = strrchr(text, ')');
    return name_end && sscanf(name_end, ") %*c %ld", &parent) == 1 ? parent : -1;
}

/* Where there is no list of them: by asking every process there is. */
static bool each_child_by_asking(void (*each)(pid_t child, void *context), void *context) {
    DIR *processes = opendir("/proc");
    if (!processes) return false;
    for (struct dirent *entry; (entry = readdir(processes));) {
        long pid = atol(entry->d_name);
        if (pid > 0 && parent_of(pid) == getpid()) each((pid_t)pid, context);
    }
    closedir(processes);
    return true;
}

/* Calls `each` for every child that we have; false when they cannot be found. */
static bool each_child(void (*each)(pid_t child, void *context), void *context) {
    char path[64], text[8192], *rest = text;
    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    if (file_read(path, text, sizeof text) < 0) return each_child_by_asking(each, context);
    for (char *word; (word = strsep(&rest, " "));)
        if (rest && atol(word) > 0)
            each((pid_t)atol(word), context); /* the last one may be cut: it has no blank */
    return true;
}

/* Where the pid stands among the strangers; NULL when it is none. */
static pid_t *stranger(pid_t pid) {
    for (pid_t *at = supervisor.strangers; at < supervisor.strangers + MOST_STRANGERS; at++)
        if (*at == pid) return at;
    return NULL;
}

static void note_stranger(pid_t child, void *unused) {
    (void)unused;
    pid_t *place = stranger(0);
    if (place) *place = child;
}

/* ---- signals ---- */

void supervise_start(void) {
    /* Faults are ours alone, and a write to a terminal from the background shall stop us as it stops everybody. */
    static const int left_alone[] = {SIGSEGV, SIGBUS, SIGILL,  SIGFPE, SIGABRT,
                                     SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};
    sigset_t taken;
    sigfillset(&taken);
    for (size_t i = 0; i < sizeof left_alone / sizeof *left_alone; i++)
        sigdelset(&taken, left_alone[i]);
    /* Where SIGCHLD is ignored, the kernel reaps, and exit codes are lost. */
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, &supervisor.on_sigchld);
    sigprocmask(SIG_BLOCK, &taken, &supervisor.mask);
    supervisor.signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    sigdelset(&taken, SIGCHLD);
    supervisor.interrupt = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor.signals < 0 || supervisor.interrupt < 0) die(DIE_OURS, "signalfd: %s", strerror(errno));
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    each_child(note_stranger, NULL);
}

int supervise_interrupt(void) {
    return supervisor.interrupt;
}

static bool next_signal(struct signalfd_siginfo *info) {
    return read(supervisor.signals, info, sizeof *info) == sizeof *info;
}

/* By who has started us: nohup, or a shell in the background. Such signals are passed on, but are no end of ours. */
static bool is_ignored(int number) {
    struct sigaction inherited;
    return sigaction(number, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN;
}

/* The terminal sends these to all of its foreground group. */
static bool is_from_keyboard(const struct signalfd_siginfo *info) {
    int number = (int)info->ssi_signo;
    return info->ssi_code == SI_KERNEL &&
           (number == SIGINT || number == SIGQUIT || number == SIGTSTP || number == SIGWINCH);
}

/* Ctrl-Z: a shell waits for its own child to stop, which is us. */
static void stop_with_the_rest(void) {
    kill(getpid(), SIGSTOP);
}

/* Nobody reads what we say any more: that is not the command's affair. */
static bool is_our_own_pipe(const struct signalfd_siginfo *info) {
    return info->ssi_signo == SIGPIPE && info->ssi_pid == (uint32_t)getpid();
}

static void pass_on(struct run *run, const struct signalfd_siginfo *info) {
    int number = (int)info->ssi_signo;
    if (number == SIGCHLD || is_our_own_pipe(info)) return;
    if ((number == SIGINT || number == SIGTERM) && !is_ignored(number)) {
        if (run->stops++ == 0) run->first_stop = now();
        run->end.stop_signal = number;
    }
    sigaddset(&run->sent, number);
    bool from_keyboard = !run->own_group && is_from_keyboard(info);
    if (!from_keyboard || sigismember(&run->early, number)) kill(run->pid, number);
    if (from_keyboard && number == SIGTSTP) stop_with_the_rest();
    sigdelset(&run->early, number);
}

/* ---- waiting ---- */

static void wait_for_signals(double seconds) {
    struct pollfd signals = {.fd = supervisor.signals, .events = POLLIN};
    poll(&signals, 1, seconds > 0 ? (int)ceil(seconds * 1000) : 0);
}

static bool tick(const struct supervise_hooks *hooks) {
    if (now() - supervisor.ticked < 1) return false;
    supervisor.ticked = now();
    return hooks->tick(hooks->context);
}

/* Reaps whoever has ended: the command (`run` may be NULL), and orphans that have become ours. False without children. */
static bool reap(struct run *run) {
    for (;;) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid <= 0) return pid == 0;
        if (stranger(pid)) {
            *stranger(pid) = 0; /* the number may be somebody else's from now on */
            continue;
        }
        if (!run) continue;
        uint64_t peak = (uint64_t)usage.ru_maxrss << 10;
        if (peak > run->end.peak_bytes) run->end.peak_bytes = peak;
        if (pid != run->pid) continue;
        run->ended = true;
        run->end.signalled = WIFSIGNALED(status);
        run->end.code = run->end.signalled ? WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* ---- starting ---- */

static bool has_terminal(void) {
    int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0) return false;
    close(terminal);
    return true;
}

/* What a child that cannot become the command tells us. */
struct refusal {
    int error; /* -errno */
    bool not_entered;
};

static _Noreturn void become(char **command, bool own_group, const struct supervise_hooks *hooks, int tell) {
    struct refusal refusal = {0};
    if (own_group) setpgid(0, 0);
    refusal.error = hooks->enter(hooks->context);
    refusal.not_entered = refusal.error != 0;
    if (!refusal.error) {
        sigaction(SIGCHLD, &supervisor.on_sigchld, NULL);
        sigprocmask(SIG_SETMASK, &supervisor.mask, NULL);
        execvp(command[0], command);
        refusal.error = -errno;
    }
    ssize_t unheard = write(tell, &refusal, sizeof refusal);
    (void)unheard;
    _exit(DIE_NOT_FOUND);
}

static bool not_forked(struct run *run, int error) {
    run->end.error = -error;
    run->end.not_forked = true;
    return false;
}

/* False, with the error in run->end, when it could not be started. */
static bool start(struct run *run, char **command, const struct supervise_hooks *hooks) {
    int tell[2]; /* closes with the child's exec */
    if (pipe2(tell, O_CLOEXEC) != 0) return not_forked(run, errno);
    run->own_group = !has_terminal();
    sigpending(&run->early);
    run->pid = fork();
    int error = errno;
    if (run->pid == 0) become(command, run->own_group, hooks, tell[1]);
    close(tell[1]);
    if (run->pid < 0) close(tell[0]);
    if (run->pid < 0) return not_forked(run, error);
    struct refusal refusal = {0};
    ssize_t got;
    while ((got = read(tell[0], &refusal, sizeof refusal)) < 0 && errno == EINTR)
        ;
    close(tell[0]);
    if (got != sizeof refusal) return true;
    waitpid(run->pid, NULL, 0);
    run->end.error = refusal.error;
    run->end.not_entered = refusal.not_entered;
    return false;
}

/* ---- running ---- */

/* Seconds until our own SIGKILL; far away when none is due. */
static double until_kill(const struct run *run, double grace_s) {
    if (run->end.we_killed) return INFINITY;
    double ours = run->end.we_stopped ? run->we_stopped : INFINITY;
    double theirs = run->stops < 2 ? INFINITY : run->first_stop;
    return fmin(ours, theirs) + grace_s - now();
}

static void stop(struct run *run) {
    if (run->end.we_stopped) return;
    run->end.we_stopped = true;
    run->we_stopped = now();
    kill(run->pid, SIGTERM);
}

struct supervise_end supervise_run(char **command, double grace_s, const struct supervise_hooks *hooks) {
    struct run run = {0};
    sigemptyset(&run.sent);
    double started = now();
    if (!start(&run, command, hooks)) return run.end;
    while (!run.ended) {
        wait_for_signals(fmin(1, until_kill(&run, grace_s)));
        for (struct signalfd_siginfo info; next_signal(&info);)
            pass_on(&run, &info);
        if (until_kill(&run, grace_s) <= 0) {
            run.end.we_killed = true;
            kill(run.pid, SIGKILL);
        }
        reap(&run);
        if (!run.ended && tick(hooks)) stop(&run);
    }
    if (!run.end.stop_signal && run.end.signalled && sigismember(&run.sent, run.end.code))
        run.end.stop_signal = run.end.code;
    run.end.ran_s = now() - started;
    return run.end;
}

int supervise_sleep(double seconds, const struct supervise_hooks *hooks) {
    double deadline = now() + seconds;
    for (double left; (left = deadline - now()) > 0;) {
        wait_for_signals(fmin(1, left));
        for (struct signalfd_siginfo info; next_signal(&info);) {
            int number = (int)info.ssi_signo;
            bool ends = number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
            if (ends && !is_ignored(number)) return number;
            if (number == SIGTSTP) stop_with_the_rest();
        }
        reap(NULL);
        tick(hooks);
    }
    return 0;
}

/* ---- what is left ---- */

static void kill_child(pid_t child, void *count) {
    if (stranger(child)) return;
    kill(child, SIGKILL);
    ++*(int *)count;
}

bool supervise_kill_rest(double seconds, bool (*more)(void *context), void *context) {
    for (double deadline = now() + seconds; now() < deadline;) {
        int count = 0;
        bool others = more && more(context);
        bool has_children = reap(NULL);
        bool all_found = each_child(kill_child, &count); /* theirs become ours when they end */
        if (!others && (!has_children || (all_found && count == 0))) return true;
        /* Not for signals: supervise_sleep wants those that come now. */
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}
