/* tags: a number for every tag name; the names are in tags.def. */
#ifndef COMFYDD_TAGS_H
#define COMFYDD_TAGS_H

enum tag {
#define TAG(identifier, name) TAG_##identifier,
#include "trace/tags.def"
#undef TAG
    TAG_COUNT
};

/* The name of each tag, indexed by enum tag. */
extern const char *const tag_names[TAG_COUNT];

#endif
