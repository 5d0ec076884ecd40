/* tags: a number for every tag name; the names are in tags.def. */
#ifndef COMFYDD_TAGS_H
#define COMFYDD_TAGS_H

enum tag {
#define TAG(identifier, name) TAG_##identifier,
#include "trace/tags.def"
#undef TAG
    TAG_COUNT
};

/* A GPU's tags lie in this order from TAG_GPU_PEAK on (all GPUs together), and from gpu_tags(n) on (GPU n). */
enum gpu_tag {
    GPU_PEAK,
    GPU_DELTA,
    GPU_ALLOC_COUNT,
    GPU_ALLOC_BYTES,
    GPU_FAILED_ALLOCS,
    GPU_UUID,
    GPU_NAME,
    GPU_MEMORY_USED,
    GPU_MEMORY_TOTAL,
    TAGS_OF_A_GPU
};

static inline enum tag gpu_tags(unsigned device) {
    return (enum tag)(TAG_GPU0_PEAK + device * TAGS_OF_A_GPU);
}

/* The name of each tag, indexed by enum tag. Arrays, not pointers: each pointer would cost every child process that
 * inherits the library a relocation. */
#define TAG_NAME_SIZE 48
extern const char tag_names[TAG_COUNT][TAG_NAME_SIZE];

/* The same as pointers, for those who also read name tables of other processes. */
void tags_list_names(const char *names[TAG_COUNT]);

#endif
