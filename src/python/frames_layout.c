#include "python/frames_layout.h"

#include <stddef.h>
#include <string.h>

#define OF_3_9_AND_3_10                                                                                      \
    .thread_frame = 24, .thread_id = 176, .frame_previous = 24, .frame_code = 32, .code_filename = 104,      \
    .code_name = 112, .code_lines = 120, .code_first_line = 40, .text_ascii = 48, .text_compact = 72

static const struct frames_layout known[] = {
    [9] = {OF_3_9_AND_3_10, .frame_instruction = 104, .lasti_unit = 1, .lines = FRAMES_LNOTAB},
    [10] = {OF_3_9_AND_3_10, .frame_instruction = 96, .lasti_unit = 2, .lines = FRAMES_LINETABLE},
    [11] = {.thread_cframe = 56,
            .thread_frame = 8,
            .thread_id = 152,
            .frame_previous = 48,
            .frame_code = 32,
            .frame_instruction = 56,
            .frame_owner = 69,
            .code_filename = 112,
            .code_name = 128,
            .code_lines = 136,
            .code_first_line = 72,
            .code_first_traceable = 168,
            .code_bytecode = 184,
            .text_ascii = 48,
            .text_compact = 72,
            .lines = FRAMES_LOCATIONS},
    [12] = {.thread_cframe = 56,
            .thread_frame = 0,
            .thread_id = 136,
            .frame_previous = 8,
            .frame_code = 0,
            .frame_instruction = 56,
            .frame_owner = 70,
            .frame_locals = 72,
            .code_filename = 112,
            .code_name = 128,
            .code_lines = 136,
            .code_first_line = 68,
            .code_first_traceable = 176,
            .code_bytecode = 192,
            .code_version = 92,
            .text_ascii = 40,
            .text_compact = 56,
            .lines = FRAMES_LOCATIONS},
};

/* Where _Py_DebugOffsets has what, in 64-bit words: its own layout changes with the version. */
struct debug_offsets {
    uint8_t thread_frame, thread_id;
    uint8_t frame_previous, frame_code, frame_instruction, frame_owner;
    uint8_t code_filename, code_name, code_lines, code_first_line, code_local_names, code_bytecode;
    uint8_t object_type, bytes_value, text_state, text_length, text_ascii;
};

#define FIRST_WITH_OFFSETS 13
static const struct debug_offsets debug_offsets[] = {
    {23, 24, 29, 30, 31, 33, 35, 37, 38, 39, 41, 43, 45, 66, 68, 69, 70},
    {26, 27, 32, 33, 34, 36, 40, 42, 43, 44, 46, 48, 51, 76, 78, 79, 80},
    {26, 30, 40, 41, 42, 44, 48, 50, 51, 52, 54, 56, 59, 88, 90, 91, 92},
};
#define LAST_WITH_OFFSETS (FIRST_WITH_OFFSETS + (int)(sizeof debug_offsets / sizeof *debug_offsets) - 1)

#define LOCALS_OF_3_13 32 /* word */

#define FARTHEST 1024 /* bytes: no member that we read lies beyond */

static const char *from_debug_offsets(struct frames_layout *layout, int minor, const uint64_t *words) {
    const struct debug_offsets *at = &debug_offsets[minor - FIRST_WITH_OFFSETS];
    if (!words || memcmp(words, "xdebugpy", 8) != 0) return "Python does not publish its layout";
    /* The second word is the version as sys.hexversion, the third is 1 in a free-threaded build. */
    if (words[1] >> 16 != (0x0300u | (unsigned)minor))
        return "the layout published is that of another Python";
    if (words[2] != 0) return "free-threaded Python";
    if (words[at->object_type] != FRAMES_TYPE || words[at->text_state] != FRAMES_STATE ||
        words[at->text_length] != FRAMES_SIZE || words[at->bytes_value] != FRAMES_BYTES)
        return "objects of an unknown layout";
    const uint8_t *places = (const uint8_t *)at;
    for (size_t i = 0; i < sizeof *at; i++)
        if (words[places[i]] > FARTHEST) return "the layout published is not plausible";
    if (minor == FIRST_WITH_OFFSETS && words[LOCALS_OF_3_13] > FARTHEST)
        return "the layout published is not plausible";
    if (words[at->code_bytecode] < 16 || words[at->code_local_names] < 4) return "code of an unknown layout";
    *layout = (struct frames_layout){
        .thread_frame = (uint16_t)words[at->thread_frame],
        .thread_id = (uint16_t)words[at->thread_id],
        .frame_previous = (uint16_t)words[at->frame_previous],
        .frame_code = (uint16_t)words[at->frame_code],
        .frame_instruction = (uint16_t)words[at->frame_instruction],
        .frame_owner = (uint16_t)words[at->frame_owner],
        .frame_locals = minor == FIRST_WITH_OFFSETS ? (uint16_t)words[LOCALS_OF_3_13] : 0,
        .code_filename = (uint16_t)words[at->code_filename],
        .code_name = (uint16_t)words[at->code_name],
        .code_lines = (uint16_t)words[at->code_lines],
        .code_first_line = (uint16_t)words[at->code_first_line],
        .code_bytecode = (uint16_t)words[at->code_bytecode],
        /* These two are not published; cpython/code.h has them there since 3.12. */
        .code_first_traceable = (uint16_t)(words[at->code_bytecode] - 16),
        .code_version = (uint16_t)(words[at->code_local_names] - 4),
        .text_ascii = (uint16_t)words[at->text_ascii],
        .text_compact = (uint16_t)(words[at->text_ascii] + 16),
        .lines = FRAMES_LOCATIONS,
    };
    return NULL;
}

const char *frames_layout_choose(struct frames_layout *layout, int minor, const uint64_t *offsets) {
    if (sizeof(void *) != 8 || minor < 9 || minor > LAST_WITH_OFFSETS) return "a Python of unknown layout";
    if (minor >= FIRST_WITH_OFFSETS) return from_debug_offsets(layout, minor, offsets);
    *layout = known[minor];
    return NULL;
}
