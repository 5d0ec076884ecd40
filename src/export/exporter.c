/* Two sides meet in `control`: whoever wants something sets bits of `requests` and wakes the thread; the thread counts
 * the flushes it has done and wakes those who wait for one. There is no lock: nobody can die, fork, exec or run a
 * destructor while holding it. */
#include "export/exporter.h"

#include "base/clock.h"
#include "base/futex.h"
#include "config.h"
#include "export/orphans.h"
#include "export/sender.h"
#include "export/watchdog.h"
#include "flight.h"
#include "host/meminfo.h"
#include "resolve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STACK_SIZE    (256u << 10) /* bytes */
#define HALF_FULL     0.5
#define BEAT          UINT64_C(1000000000)  /* ns between two signs of life */
#define ORPHANS_AGAIN UINT64_C(30000000000) /* ns between two attempts at what dead processes have left */

enum request {
    REQUEST_SEND = 1,  /* a span was finished: see what is due when the flush interval is over */
    REQUEST_ROOM = 2,  /* the ring is half full: see now */
    REQUEST_FLUSH = 4, /* flush_wanted has grown: send everything now */
    REQUEST_STOP = 8,
    REQUEST_SAMPLES = 16, /* of memory, until nobody asks for them any more */
};

static struct {
    uint32_t running;                  /* 1 while the thread may touch the flight memory */
    uint32_t requests;                 /* bits of enum request; what the thread waits for */
    uint32_t flush_wanted, flush_done; /* counts of flushes; the second is what the flushers wait for */
    uint32_t flush_succeeded;          /* whether the last one left nothing behind */
    pid_t pid;                         /* the process that the thread is in */
    struct flight *flight;             /* borrowed */
    const struct config *config;       /* borrowed */
    struct sender *sender;             /* owned by the thread */
    void (*beat)(struct flight *flight);
    uint64_t beat_at;         /* the thread's: clock_mono_ns of the next sign of life */
    uint64_t sample_at;       /* of the next sample of memory */
    uint64_t orphans_at;      /* of the next attempt; SENDER_NEVER: none are left */
    struct watchdog watchdog; /* the thread's */
} control;

/* ---- the thread ---- */

static bool flush_is_pending(void) {
    return __atomic_load_n(&control.flush_wanted, __ATOMIC_ACQUIRE) != control.flush_done;
}

static void flush_is_done(uint32_t count, bool succeeded) {
    __atomic_store_n(&control.flush_succeeded, succeeded, __ATOMIC_RELAXED);
    __atomic_store_n(&control.flush_done, count, __ATOMIC_RELEASE);
    futex_wake(&control.flush_done);
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* When to send, given the requests. A flush breaks a wait for the next attempt once; it is then tried again like
 * everything else. */
static uint64_t send_ns(uint32_t requests, uint64_t interval_end_ns) {
    uint64_t retry_ns = sender_retry_ns(control.sender);
    if (requests & REQUEST_FLUSH) return 0;
    if (requests & REQUEST_ROOM || flush_is_pending()) return retry_ns;
    return requests & REQUEST_SEND ? later(interval_end_ns, retry_ns) : SENDER_NEVER;
}

/* What dead processes have left. */
static void send_orphans(void) {
    bool done = orphans_send(control.config);
    control.orphans_at = done ? SENDER_NEVER : clock_mono_ns() + ORPHANS_AGAIN;
}

/* While something is open: who finds it after a kill shall know until when the process was alive. */
static uint64_t next_beat_ns(void) {
    bool beats = flight_slots_taken(control.flight) || watchdog_waits(&control.watchdog, control.flight);
    return beats ? control.beat_at : SENDER_NEVER;
}

static void give_sign_of_life(uint64_t now) {
    flight_note_life(control.flight, clock_wall_ns());
    if (control.beat) control.beat(control.flight);
    watchdog_look(&control.watchdog, control.flight, now);
    control.beat_at = now + BEAT;
}

/* Somebody who asks while the request is being withdrawn takes one sample more, and asks again. */
static void sample_memory(uint64_t now) {
    control.sample_at = meminfo_refresh(now);
    if (control.sample_at != UINT64_MAX) return;
    control.sample_at = 0;
    __atomic_fetch_and(&control.requests, ~(uint32_t)REQUEST_SAMPLES, __ATOMIC_SEQ_CST);
}

static void send_due(void) {
    /* First take note of the requests, then look into the ring: what comes later asks again. */
    __atomic_fetch_and(&control.requests, ~(uint32_t)(REQUEST_SEND | REQUEST_ROOM | REQUEST_FLUSH),
                       __ATOMIC_SEQ_CST);
    uint32_t flush = __atomic_load_n(&control.flush_wanted, __ATOMIC_ACQUIRE);
    enum sender_result result = sender_send(control.sender, flush != control.flush_done);
    if (result != SENDER_DONE) __atomic_fetch_or(&control.requests, REQUEST_SEND, __ATOMIC_SEQ_CST);
    if (result != SENDER_LATER) flush_is_done(flush, result == SENDER_DONE);
    /* The agent is there. A flush may have somebody waiting for the end of this. */
    if (result == SENDER_DONE && !flush_is_pending() && clock_mono_ns() >= control.orphans_at) send_orphans();
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void *run(void *unused) {
    (void)unused;
    prctl(PR_SET_NAME, "comfydd-export");
    uint64_t interval_ns = (uint64_t)(control.config->flush_interval_s * 1e9), interval_end_ns = 0;
    uint32_t requests;
    flight_make_resident(control.flight);
    send_orphans();
    while (!((requests = __atomic_load_n(&control.requests, __ATOMIC_SEQ_CST)) & REQUEST_STOP)) {
        uint64_t now = clock_mono_ns();
        uint64_t send_at = send_ns(requests, interval_end_ns), tend_at = sender_tend_ns(control.sender);
        uint64_t sample_at = requests & REQUEST_SAMPLES ? control.sample_at : SENDER_NEVER;
        uint64_t beat_at = next_beat_ns();
        uint64_t next = earlier(earlier(send_at, tend_at), earlier(beat_at, sample_at));
        if (now >= beat_at) {
            give_sign_of_life(now);
        } else if (now >= sample_at) {
            sample_memory(now);
        } else if (now < next) {
            futex_wait(&control.requests, requests, next == SENDER_NEVER ? FUTEX_FOREVER : next - now);
        } else if (now >= send_at) {
            send_due();
            interval_end_ns = clock_mono_ns() + interval_ns;
        } else {
            sender_tend(control.sender);
        }
    }
    struct sender *sender = control.sender;
    __atomic_store_n(&control.sender, NULL, __ATOMIC_RELEASE); /* a fork from here on has nothing to close */
    sender_destroy(sender);
    flush_is_done(__atomic_load_n(&control.flush_wanted, __ATOMIC_ACQUIRE), false);
    __atomic_store_n(&control.running, 0, __ATOMIC_RELEASE);
    futex_wake(&control.running);
    return NULL;
}

/* What is in libpthread.so.0 before glibc 2.34. Looked up here: by name the library would need libpthread, and so bring it
 * into every child process. */
enum { PTHREAD_CREATE, PTHREAD_ATTR_SETSTACKSIZE, THREAD_FUNCTIONS };
static const char *const thread_functions[] = {"pthread_create", "pthread_attr_setstacksize"};

/* A small stack, or the usual one where thread-local storage alone (it is on the stack) is larger than that. */
static int create_thread(void) {
    void *found[THREAD_FUNCTIONS];
    if (!resolve_all_first(thread_functions, found, THREAD_FUNCTIONS)) return -ENOSYS;
    __typeof__(&pthread_create) create = found[PTHREAD_CREATE];
    __typeof__(&pthread_attr_setstacksize) set_stack_size = found[PTHREAD_ATTR_SETSTACKSIZE];
    pthread_t thread;
    pthread_attr_t small, usual;
    pthread_attr_init(&small);
    pthread_attr_init(&usual);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_attr_setdetachstate(&usual, PTHREAD_CREATE_DETACHED);
    set_stack_size(&small, STACK_SIZE);
    int error = create(&thread, &small, run, NULL);
    if (error == EINVAL) error = create(&thread, &usual, run, NULL);
    pthread_attr_destroy(&small);
    pthread_attr_destroy(&usual);
    return -error;
}

/* ---- everybody else ---- */

static void request(uint32_t bits) {
    /* Always a write, though the bits may be there already: it puts the caller's span before the thread's next look. */
    if ((__atomic_fetch_or(&control.requests, bits, __ATOMIC_SEQ_CST) & bits) != bits)
        futex_wake(&control.requests);
}

/* Waits for *word to be something else than what was seen, or less long; false once the deadline has passed. */
static bool wait_change(const uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    uint64_t now = clock_mono_ns();
    if (now >= deadline_ns) return false;
    futex_wait(word, seen, deadline_ns - now);
    return true;
}

void exporter_on_beat(void (*beat)(struct flight *flight)) {
    control.beat = beat;
}

int exporter_start(struct flight *flight, const struct config *config) {
    if (__atomic_load_n(&control.running, __ATOMIC_ACQUIRE)) return -EBUSY;
    int saved_errno = errno;
    int error = sender_create(&control.sender, flight, config);
    if (!error) {
        control.flight = flight;
        control.config = config;
        control.pid = getpid();
        control.requests = 0;
        control.beat_at = clock_mono_ns() + BEAT;
        control.sample_at = control.orphans_at = 0;
        control.watchdog = (struct watchdog){.limit_ns = (uint64_t)(config->watchdog_s * 1e9)};
        control.flush_done = control.flush_wanted;
        __atomic_store_n(&control.running, 1, __ATOMIC_RELEASE);
        sigset_t all, before;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &before); /* of this thread: on Linux the same as pthread_sigmask */
        error = create_thread();
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (error) {
            __atomic_store_n(&control.running, 0, __ATOMIC_RELEASE);
            sender_destroy(control.sender);
            control.sender = NULL;
        }
    }
    errno = saved_errno;
    return error;
}

void exporter_wake(enum flight_span_kind kind) {
    if (!__atomic_load_n(&control.running, __ATOMIC_ACQUIRE)) return;
    uint32_t bits = flight_fill(control.flight) >= HALF_FULL ? REQUEST_SEND | REQUEST_ROOM : REQUEST_SEND;
    /* Without the write, which waits for memory, the thread may withdraw the request and not see this span yet. It will when
     * the node's workflow ends, at the latest. */
    if (kind == FLIGHT_NODE && (__atomic_load_n(&control.requests, __ATOMIC_RELAXED) & bits) == bits) return;
    request(bits);
}

/* A child after vfork shares our memory, but not the thread. */
static bool is_here(void) {
    return __atomic_load_n(&control.running, __ATOMIC_ACQUIRE) && control.pid == getpid();
}

static bool flush(uint64_t deadline_ns) {
    uint32_t mine = __atomic_add_fetch(&control.flush_wanted, 1, __ATOMIC_ACQ_REL), done;
    request(REQUEST_FLUSH);
    while ((int32_t)((done = __atomic_load_n(&control.flush_done, __ATOMIC_ACQUIRE)) - mine) < 0)
        if (!wait_change(&control.flush_done, done, deadline_ns)) return false;
    return __atomic_load_n(&control.flush_succeeded, __ATOMIC_RELAXED);
}

void exporter_sample_memory(void) {
    if (__atomic_load_n(&control.running, __ATOMIC_ACQUIRE)) request(REQUEST_SAMPLES);
}

bool exporter_flush(unsigned timeout_ms) {
    return !is_here() || flush(clock_mono_ns() + timeout_ms * UINT64_C(1000000));
}

bool exporter_stop(unsigned timeout_ms) {
    if (!is_here()) return true;
    uint64_t deadline_ns = clock_mono_ns() + timeout_ms * UINT64_C(1000000);
    flush(deadline_ns);
    request(REQUEST_STOP);
    while (__atomic_load_n(&control.running, __ATOMIC_ACQUIRE))
        if (!wait_change(&control.running, 1, deadline_ns)) return false;
    return true;
}

void exporter_forked(void) {
    struct sender *sender = __atomic_load_n(&control.sender, __ATOMIC_ACQUIRE);
    if (sender) sender_forked(sender); /* its memory is given up: the thread may have been changing it */
    control.sender = NULL;
    control.running = 0;
}
