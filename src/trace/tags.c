#include "trace/tags.h"

const char *const tag_names[TAG_COUNT] = {
#define TAG(identifier, name) [TAG_##identifier] = name,
#include "trace/tags.def"
#undef TAG
};
