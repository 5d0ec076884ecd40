/* Eight threads allocate and free, each other's memory too; at the end the books say that nothing is held. */
#include "test.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, ROUNDS = 2000, SLOTS = 64 };

static _Atomic(void *) shared[SLOTS]; /* whoever takes it out frees it */

static void *work(void *number) {
    unsigned seed = (unsigned)(size_t)number;
    for (int round = 0; round < ROUNDS; round++) {
        void *mine, *old;
        size_t size = 1 + (size_t)rand_r(&seed) % 100000;

        MUST_GIVE(0, round % 2 ? cudaMalloc(&mine, size) : cudaMallocAsync(&mine, size, NULL));
        old = atomic_exchange(&shared[rand_r(&seed) % SLOTS], mine);
        MUST_GIVE(0, round % 3 ? cudaFree(old) : cudaFreeAsync(old, NULL));
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    struct fake_gpu_books books;

    for (size_t i = 0; i < THREADS; i++)
        MUST_GIVE(0, pthread_create(&threads[i], NULL, work, (void *)i));
    for (size_t i = 0; i < THREADS; i++)
        MUST_GIVE(0, pthread_join(threads[i], NULL));
    for (int i = 0; i < SLOTS; i++)
        MUST_GIVE(0, cudaFree(shared[i]));
    MUST_GIVE(0, cudaDeviceSynchronize());
    books = books_of(0);
    MUST(books.peak && !books.in_use && !books.count[FAKE_GPU_PLAIN] && !books.count[FAKE_GPU_ASYNC]);
    MUST(fake_gpu_calls("cuMemAlloc_v2") == THREADS * ROUNDS / 2);
    MUST(fake_gpu_calls("cuMemAllocAsync") == THREADS * ROUNDS / 2);
    return 0;
}
