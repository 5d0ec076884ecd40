/* Prints the table of environment variables for scripts/config-table. */
#include "settings.h"

int main(void) {
    settings_print_markdown(stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}
