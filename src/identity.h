/* identity: the flight memory of this process, with what all its spans have in common. */
#ifndef COMFYDD_IDENTITY_H
#define COMFYDD_IDENTITY_H

struct config;
struct flight;

/* With entries for service, env, version, component, language, runtime id, process id, host name and the tags of DD_TAGS, in
 * a file of the configured folder where that can be had. NULL without memory. */
struct flight *identity_create_flight(const struct config *config);

#endif
