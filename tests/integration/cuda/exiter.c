/* A library that ends the program while it is being loaded, as ones that find no GPU do. */
#include <stdio.h>
#include <stdlib.h>

int cudaMalloc(void **out, size_t size);

__attribute__((constructor)) static void leave(void) {
    void *kept;
    printf("leaving: %d\n", cudaMalloc(&kept, 1000));
    exit(0);
}
