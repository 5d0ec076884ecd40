/* How long the ledger takes for an allocation and its free, while many others are live and other threads do the same; and
 * how long the machine takes to lock, read and write a line of memory in the same pattern, without the ledger: what others
 * do to caches and memory meanwhile shows in both. Prints nanoseconds of processor time per pair, the least of ROUNDS.
 * usage: bench_ledger THREADS LIVE */
#include "base/spin.h"
#include "cuda/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAIRS       50000 /* of a thread and round */
#define ROUNDS      30
#define MOST        64 /* threads */
#define NANOSECONDS 1e9

struct line {
    _Alignas(64) uint32_t lock;
    uint64_t words[4];
};

static unsigned threads, live_each;
static struct line *lines; /* one for each live allocation */
static pthread_barrier_t all;
static double seconds[MOST];

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / NANOSECONDS;
}

/* 0 .. live_each-1, without a division. */
static unsigned next_slot(uint32_t *random) {
    *random = *random * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)*random * live_each >> 32);
}

static uint64_t address_of(unsigned thread, unsigned slot) {
    return ((uint64_t)(thread + 1) << 40) + ((uint64_t)(slot + 1) << 21);
}

static void add(uint64_t address) {
    ledger_add(address, 2 << 20, (struct ledger_what){.kind = LEDGER_ASYNC});
}

static void touch_lines(unsigned thread, uint32_t *random) {
    for (int i = 0; i < PAIRS; i++) {
        struct line *line = &lines[thread * live_each + next_slot(random)];
        spin_lock(&line->lock);
        for (int word = 0; word < 4; word++)
            line->words[word] += *random;
        spin_unlock(&line->lock);
    }
}

static void use_ledger(unsigned thread, uint32_t *random) {
    for (int i = 0; i < PAIRS; i++) {
        struct ledger_entry removed;
        uint64_t address = address_of(thread, next_slot(random));
        ledger_remove(LEDGER_POINTER, address, &removed);
        add(address);
    }
}

/* All threads at once; the sum of their times is left in *least when it is smaller. */
static void measure(void (*work)(unsigned, uint32_t *), unsigned thread, uint32_t *random, double *least) {
    pthread_barrier_wait(&all);
    double begin = thread_seconds();
    work(thread, random);
    seconds[thread] = thread_seconds() - begin;
    pthread_barrier_wait(&all);
    if (thread > 0) return;
    double sum = 0;
    for (unsigned i = 0; i < threads; i++)
        sum += seconds[i];
    if (*least == 0 || sum < *least) *least = sum;
}

static double least_bare, least_ledger;

static void *run(void *argument) {
    unsigned thread = (unsigned)(uintptr_t)argument;
    uint32_t random = thread + 1;
    for (unsigned slot = 0; slot < live_each; slot++)
        add(address_of(thread, slot));
    for (int round = 0; round < ROUNDS; round++) {
        measure(touch_lines, thread, &random, &least_bare);
        measure(use_ledger, thread, &random, &least_ledger);
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    threads = (unsigned)atoi(arguments[1]);
    if (threads < 1 || threads > MOST) return 2;
    live_each = (unsigned)atoi(arguments[2]) / threads;
    lines = aligned_alloc(sizeof *lines, sizeof *lines * threads * live_each);
    if (!lines || pthread_barrier_init(&all, NULL, threads)) return 1;
    pthread_t thread[MOST];
    ledger_start();
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, run, (void *)(uintptr_t)i)) return 1;
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    double pairs = (double)threads * PAIRS / NANOSECONDS;
    printf("ledger: %.1f ns a pair, a line: %.1f ns\n", least_ledger / pairs, least_bare / pairs);
    free(lines);
    return 0;
}
