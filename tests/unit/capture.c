#include "capture.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

static int saved_stderr = -1;
static FILE *file;
static char text[8192];

void capture_start(void) {
    file = tmpfile();
    assert_non_null(file);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
}

const char *capture_stop(void) {
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}
