/* hash: mixing words and bytes into 64-bit keys. Not for keys that somebody hostile may choose. Pure. */
#ifndef COMFYDD_HASH_H
#define COMFYDD_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Takes two more words into `hash`: all bits of the result depend on all of theirs. */
static inline uint64_t hash_mix(uint64_t hash, uint64_t one, uint64_t other) {
    unsigned __int128 product = (unsigned __int128)(hash ^ one) * (other ^ UINT64_C(0xd1b54a32d192ed03));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_word(const void *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t hash_bytes(const void *bytes, size_t size) {
    const char *at = bytes;
    uint64_t hash = size ^ UINT64_C(0x9e3779b97f4a7c15);
    for (; size >= 16; size -= 16, at += 16)
        hash = hash_mix(hash, hash_word(at), hash_word(at + 8));
    char rest[16] = {0};
    memcpy(rest, at, size);
    return hash_mix(hash, hash_word(rest), hash_word(rest + 8));
}

#endif
