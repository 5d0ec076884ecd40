/* How long the ledger takes for an allocation and its free, while many others are live and other threads do the same.
 * Prints nanoseconds of processor time per pair. usage: bench_ledger THREADS LIVE */
#include "cuda/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAIRS 400000

static unsigned long live_each;

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t address_of(unsigned long thread, unsigned long slot) {
    return ((uint64_t)thread << 40) + ((uint64_t)(slot + 1) << 21);
}

static void add(uint64_t address) {
    ledger_add(&(struct ledger_entry){.kind = LEDGER_ASYNC, .address = address, .size = 2 << 20});
}

static void *run(void *argument) {
    unsigned long thread = (unsigned long)argument;
    double *seconds = malloc(sizeof *seconds);
    uint32_t random = (uint32_t)thread + 1;
    for (unsigned long slot = 0; slot < live_each; slot++)
        add(address_of(thread, slot));
    double begin = thread_seconds();
    for (int i = 0; i < PAIRS; i++) {
        struct ledger_entry removed;
        random = random * 1664525u + 1013904223u;
        uint64_t address = address_of(thread, (random >> 8) % live_each);
        ledger_remove(LEDGER_POINTER, address, &removed);
        add(address);
    }
    *seconds = thread_seconds() - begin;
    return seconds;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int threads = atoi(arguments[1]);
    live_each = strtoul(arguments[2], NULL, 10) / (unsigned long)threads;
    pthread_t thread[64];
    double sum = 0;
    ledger_start();
    for (int i = 0; i < threads && i < 64; i++)
        if (pthread_create(&thread[i], NULL, run, (void *)(unsigned long)(i + 1))) return 1;
    for (int i = 0; i < threads && i < 64; i++) {
        void *seconds;
        pthread_join(thread[i], &seconds);
        sum += *(double *)seconds;
        free(seconds);
    }
    printf("ledger: %.1f ns a pair\n", sum / threads / PAIRS * 1e9);
    return 0;
}
