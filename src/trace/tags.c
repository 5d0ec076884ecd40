#include "trace/tags.h"

const char tag_names[TAG_COUNT][TAG_NAME_SIZE] = {
#define TAG(identifier, name) [TAG_##identifier] = name,
#include "trace/tags.def"
#undef TAG
};

void tags_list_names(const char *names[TAG_COUNT]) {
    for (int i = 0; i < TAG_COUNT; i++)
        names[i] = tag_names[i];
}
