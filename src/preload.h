/* preload: what the library does when it is loaded, when the first workflow starts, at fork, at exec and at exit. */
#ifndef COMFYDD_PRELOAD_H
#define COMFYDD_PRELOAD_H

/* The process image is about to be replaced, or the process to end past its exit handlers. Sends what is recorded, within
 * two seconds; does nothing in a child of vfork or fork, in a process that traces nothing, and never fails. errno is
 * preserved. */
void preload_before_exec(void);
void preload_before_exit(void);

#endif
