/* CUDA does not survive a fork: the child's calls fail, the parent's go on. */
#include "test.h"

#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    void *pointer;
    int status;
    pid_t child;

    MUST_GIVE(0, cudaMalloc(&pointer, 512));
    child = fork();
    if (!child) {
        MUST_GIVE(cudaErrorInitializationError, cudaFree(pointer));
        MUST_GIVE(cudaErrorInitializationError, cudaMalloc(&pointer, 512));
        _exit(0);
    }
    MUST(waitpid(child, &status, 0) == child);
    MUST_GIVE(0, status);
    MUST_GIVE(0, cudaFree(pointer));
    return 0;
}
