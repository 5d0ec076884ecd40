/* stats: FAKE_CUDA_STATS, a file that gets a line of JSON when the process exits: what was called, and the books. */
#include "fake_gpu.h"
#include "gpu/books.h"
#include "gpu/calls.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_calls(FILE *out, bool stubs) {
    const char *separator = "";
    for (const struct call_site *site = calls_first(); site; site = site->next) {
        if (site->stub != stubs) continue;
        fprintf(out, "%s\"%s\": %lu", separator, site->name, atomic_load(&site->count));
        separator = ", ";
    }
}

static void print_books(FILE *out, int device) {
    struct fake_gpu_books books;
    fake_gpu_books(device, &books);
    fprintf(out, "{\"total\": %lu, \"in_use\": %lu, \"peak\": %lu", books.total, books.in_use, books.peak);
    for (int kind = 0; kind < FAKE_GPU_KINDS; kind++)
        fprintf(out, ", \"%s\": %lu, \"%s_count\": %lu", books_kind(kind), books.live[kind], books_kind(kind),
                books.count[kind]);
    fprintf(out, "}");
}

__attribute__((destructor)) static void write_stats(void) {
    const char *path = getenv("FAKE_CUDA_STATS");
    int file = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    struct fake_gpu_books books;
    char *text = NULL;
    size_t length = 0;
    FILE *out = file >= 0 ? open_memstream(&text, &length) : NULL;
    if (!out) return;
    fprintf(out, "{\"pid\": %d, \"calls\": {", getpid());
    print_calls(out, false);
    fprintf(out, "}, \"stubs\": {");
    print_calls(out, true);
    fprintf(out, "}, \"devices\": [");
    for (int device = 0; fake_gpu_books(device, &books); device++) {
        if (device) fprintf(out, ", ");
        print_books(out, device);
    }
    fprintf(out, "], \"host\": ");
    print_books(out, FAKE_GPU_HOST);
    fprintf(out, "}\n");
    fclose(out);
    if (write(file, text, length) < 0) perror("FAKE_CUDA_STATS");
    close(file);
    free(text);
}
