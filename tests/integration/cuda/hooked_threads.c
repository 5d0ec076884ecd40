/* Eight threads allocate, free what others allocated, and fork meanwhile; then 100,000 allocations are live at once. The
 * ledger agrees with the books. Memory must be 64G. */
#include "cuda_probe.h"
#include "test.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS  3000
#define SHARED  64
#define MANY    100000

int cudaMalloc(void **out, size_t size);
int cudaFree(void *pointer);
int cudaMallocAsync(void **out, size_t size, void *stream);
int cudaFreeAsync(void *pointer, void *stream);

static void *shared[SHARED]; /* handed from thread to thread */
static void *many[MANY];

static void *work(void *argument) {
    unsigned seed = (unsigned)(size_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        void *mine;
        seed = seed * 1103515245 + 12345;
        size_t size = 512 * (1 + (seed >> 16) % 64);
        MUST_GIVE(0, seed & 64 ? cudaMalloc(&mine, size) : cudaMallocAsync(&mine, size, NULL));
        void *theirs = __atomic_exchange_n(&shared[(seed >> 8) % SHARED], mine, __ATOMIC_ACQ_REL);
        if (theirs) MUST_GIVE(0, cudaFree(theirs));
        if (i % 1000 == 0) {
            pid_t pid = fork();
            MUST(pid >= 0);
            if (pid == 0) _exit(cudaMalloc(&mine, 512) == 3 ? 0 : 1);
            int status;
            MUST(waitpid(pid, &status, 0) == pid && status == 0);
        }
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    MUST_GIVE(0, cudaFree(NULL));
    for (size_t i = 0; i < THREADS; i++)
        MUST_GIVE(0, pthread_create(&threads[i], NULL, work, (void *)i));
    for (size_t i = 0; i < THREADS; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    struct fake_gpu_books books = books_of(0);
    struct probe probe = probe_read();
    MUST(probe.bytes[LEDGER_PLAIN] == books.live[FAKE_GPU_PLAIN] &&
         probe.count[LEDGER_PLAIN] == books.count[FAKE_GPU_PLAIN]);
    MUST(probe.bytes[LEDGER_ASYNC] == books.live[FAKE_GPU_ASYNC] &&
         probe.count[LEDGER_ASYNC] == books.count[FAKE_GPU_ASYNC]);
    MUST(probe.allocations == THREADS * ROUNDS);
    for (int i = 0; i < SHARED; i++)
        MUST_GIVE(0, cudaFree(shared[i]));
    for (int i = 0; i < MANY; i++)
        MUST_GIVE(0, cudaMallocAsync(&many[i], 512, NULL));
    probe = probe_read();
    MUST(probe.count[LEDGER_ASYNC] == MANY && probe.bytes[LEDGER_ASYNC] == MANY * 512ull);
    for (int i = MANY - 1; i >= 0; i--)
        MUST_GIVE(0, cudaFreeAsync(many[i], NULL));
    probe = probe_read();
    MUST(probe.count[LEDGER_ASYNC] == 0 && probe.count[LEDGER_PLAIN] == 0);
    return 0;
}
