/* uuids: of devices. Device 3 is GPU-66616b65-2d63-7564-612d-677075000003; as an instance of a partitioned GPU (MIG) it has
 * one of its own, MIG-66616b65-2d63-7564-612d-6d6967000003. */
#ifndef FAKE_UUIDS_H
#define FAKE_UUIDS_H

#include <stdbool.h>
#include <stddef.h>

void uuids_bytes(unsigned char bytes[16], int device, bool instance);
void uuids_text(char *text, size_t size, int device, bool instance);

/* The device that an entry of CUDA_VISIBLE_DEVICES means: a number, or the beginning of a uuid; -1: none. */
int uuids_device(const char *name);

#endif
