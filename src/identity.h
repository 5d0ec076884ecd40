/* identity: what all spans of this process have in common, as flight tag entries. */
#ifndef COMFYDD_IDENTITY_H
#define COMFYDD_IDENTITY_H

#include <stddef.h>

struct config;

/* Entries for service, env, version, component, language, runtime id, process id, host name and the tags of DD_TAGS; owned
 * by the caller (free), NULL without memory. */
void *identity_create(const struct config *config, size_t *size);

#endif
