#include "left_behind.h"

#include "base/clock.h"
#include "unit.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char *folder;

void left_in(const char *chosen) {
    folder = chosen;
}

struct process_identity left_somebody_dead(void) {
    return (struct process_identity){.pid = process_self().pid,
                                     .start_ticks = process_self().start_ticks - 1};
}

struct flight_header left_header(struct process_identity process) {
    struct flight_header header = {
        .magic = FLIGHT_MAGIC,
        .version = FLIGHT_VERSION,
        .header_size = sizeof header,
        .total_size = LEFT_SIZE,
        .pid = process.pid,
        .pid_start_ticks = process.start_ticks,
        .alive_ns = clock_wall_ns(),
    };
    process_boot_id(header.boot_id);
    return header;
}

const char *left_name(struct process_identity process, unsigned number) {
    static char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/comfydd-%u-%d-%llu-%u", folder, (unsigned)geteuid(), (int)process.pid,
             (unsigned long long)process.start_ticks, number);
    return name;
}

void left_make(const char *name, const struct flight_header *header) {
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, LEFT_SIZE), 0);
    if (header) assert_int_equal(write(fd, header, sizeof *header), sizeof *header);
    close(fd);
}
