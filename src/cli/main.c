/* The program comfydd: its subcommands. */
#include "cli/die.h"
#include "cli/doctor.h"
#include "cli/manual.h"
#include "cli/recover_main.h"
#include "cli/run.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int print_manual(int argc, char **argv) {
    (void)argc, (void)argv;
    manual_print(stdout);
    return fflush(stdout) == 0 ? 0 : DIE_OURS;
}

static const struct {
    const char *name;
    int (*main)(int argc, char **argv); /* argv[0]: "comfydd NAME", for messages */
    const char *doc;
} commands[] = {
    {"run", run_main, "run a command traced, watch over it, start it again (comfydd run --help)"},
    {"recover", recover_main, "send what dead processes have left (comfydd recover --help)"},
    {"doctor", doctor_main, "find out why no traces arrive (comfydd doctor --help)"},
    {"manual", print_manual, "print the manual page: comfydd manual | man -l -"},
};

static void print_usage(FILE *out) {
    fprintf(out, "usage: comfydd COMMAND [ARGUMENT...]\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].doc);
    fprintf(out, "  --help, --version\n");
}

/* Else a file that we open could get one of their numbers, and what is printed would go into it. */
static void open_missing_descriptors(void) {
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
    open_missing_descriptors();
    const char *wanted = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(wanted, commands[i].name) != 0) continue;
        char name[32];
        snprintf(name, sizeof name, "comfydd %s", commands[i].name);
        argv[1] = name;
        return commands[i].main(argc - 1, argv + 1);
    }
    if (strcmp(wanted, "--version") == 0) return printf("comfydd %s\n", COMFYDD_VERSION) < 0;
    bool help = strcmp(wanted, "--help") == 0 || strcmp(wanted, "help") == 0;
    print_usage(help ? stdout : stderr);
    return help ? 0 : DIE_OURS;
}
