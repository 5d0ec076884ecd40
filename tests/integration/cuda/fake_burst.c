/* One allocation; prints what it gave. */
#include "test.h"

#include <cuda_runtime_api.h>

int main(void) {
    void *pointer;
    printf("%d\n", cudaMalloc(&pointer, 512));
    return 0;
}
