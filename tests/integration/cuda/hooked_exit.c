/* Ends: allocations live at exit, freed in exit handlers and destructors, in a forked child, beside a vfork. argument:
 * how. */
#include "cuda_probe.h"
#include "test.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaMallocHost(void **out, size_t size);
int cudaGetLastError(void);

static void *kept;

static void free_late(void) {
    printf("late: %d\n", cudaFree(kept));
    fflush(stdout);
}

__attribute__((destructor)) static void free_at_the_very_end(void) {
    if (kept) printf("last: %d\n", cudaFree(kept) != 0);
}

static pthread_key_t key;

static void free_in_the_threads_last_moments(void *pointer) {
    printf("thread's last: %d\n", cudaFree(pointer));
}

static void *allocate(void *argument) {
    void *pointer;
    MUST_GIVE(0, cudaMalloc(&pointer, 1000));
    MUST_GIVE(0, pthread_setspecific(key, pointer));
    return argument;
}

static int child(void) {
    void *pointer;
    int status;
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        /* CUDA does not survive a fork; the hooks must. */
        int allocated = cudaMalloc(&pointer, 100), freed = cudaFree(kept);
        cudaGetLastError();
        if (probe_read) MUST(probe_read().failures == 0);
        _exit(allocated == 3 && freed == 3 ? 5 : 1);
    }
    MUST(waitpid(pid, &status, 0) == pid);
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    MUST(argc == 2);
    MUST_GIVE(0, cudaMalloc(&kept, 1000));
    if (strcmp(argv[1], "atexit") == 0) {
        atexit(free_late);
    } else if (strcmp(argv[1], "fork") == 0) {
        printf("child: %d\n", child());
        MUST_GIVE(0, cudaFree(kept));
        kept = NULL;
    } else if (strcmp(argv[1], "vfork") == 0) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        MUST(waitpid(pid, &status, 0) == pid && status == 0);
        if (probe_read) MUST(probe_read().count[LEDGER_PLAIN] == 1);
    } else if (strcmp(argv[1], "thread") == 0) {
        pthread_t thread;
        MUST_GIVE(0, pthread_key_create(&key, free_in_the_threads_last_moments));
        MUST_GIVE(0, pthread_create(&thread, NULL, allocate, NULL));
        MUST_GIVE(0, pthread_join(thread, NULL));
        if (probe_read) MUST(probe_read().count[LEDGER_PLAIN] == 1);
    } else if (strcmp(argv[1], "_exit") == 0) {
        fflush(stdout);
        _exit(0);
    }
    fflush(stdout);
    return 0;
}
