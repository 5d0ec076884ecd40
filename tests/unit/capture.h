/* capture: what the library prints on stderr during a test. */
#ifndef COMFYDD_CAPTURE_H
#define COMFYDD_CAPTURE_H

/* From here on stderr goes into a file. Not nested. */
void capture_start(void);

/* Gives stderr back and returns the text, valid until the next capture. */
const char *capture_stop(void);

#endif
