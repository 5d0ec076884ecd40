/* jobs_watch: the jobs of all traced processes below a supervisor, as their flight memory files tell.
 *
 * A process that ends in an orderly way removes its file; we have it open, and read what came since our last look. What was
 * running in a process that has been killed is left to who claims its file and knows the verdict. One thread. */
#ifndef COMFYDD_JOBS_WATCH_H
#define COMFYDD_JOBS_WATCH_H

struct job_event;
struct jobs_watch;
struct process_identity;

/* `folder`: of flight_files; borrowed. `report` is called by jobs_watch_look. NULL without memory. */
struct jobs_watch *jobs_watch_create(const char *folder, const struct process_identity *supervisor,
                                     void (*report)(void *context, const struct job_event *event),
                                     void *context);

/* Call it about every second, and once between the end of a process and the claim of its file; not while a file is
 * claimed. */
void jobs_watch_look(struct jobs_watch *watch);

/* NULL is fine. */
void jobs_watch_destroy(struct jobs_watch *watch);

#endif
