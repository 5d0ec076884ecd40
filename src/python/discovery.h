/* discovery: noticing that a module which may be ComfyUI's executor has been loaded, whatever way it came.
 *
 * A module counts when the last part of its name is "execution", or when its code came from a file execution.py. Found:
 * modules imported by name (also again, by importlib.reload), through a finder at the head of sys.meta_path; modules
 * executed by hand from a spec or loader (importlib.util.spec_from_file_location), through the file being opened; and
 * modules loaded before discovery began.
 *
 * All with the GIL held, in the main interpreter. Nothing is raised into the program; its own exceptions pass. */
#ifndef COMFYDD_DISCOVERY_H
#define COMFYDD_DISCOVERY_H

#include "python/python_api.h"

#include <stdbool.h>
#include <string.h>

/* Begins. `found` is called for every such module after its top-level code has run, possibly more than once. False
 * when the finder cannot be put in place. */
bool discovery_start(void (*found)(PyObject *module));

/* Instead of discovery_start, in a Python that is not supported: the first such file opened logs `why` (static). */
void discovery_refuse(const char *why);

/* Whether a path's last part, after `slash`, is execution.py or what Python compiles it to. */
bool discovery_is_execution_file(const char *slash);

/* The program opens `path`. Inline, since all files that are opened come by here: ComfyUI opens four between two nodes. */
static inline bool discovery_is_candidate(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] == 'e' && slash[2] == 'x' && discovery_is_execution_file(slash);
}

/* Such a file is being opened: watches whether it is being loaded as a module by hand. */
void discovery_file_opened(void);

#endif
