/* config_log: the configuration as one log line, in the form that Datadog's tracers have for it (DD_TRACE_STARTUP_LOGS). */
#ifndef COMFYDD_CONFIG_LOG_H
#define COMFYDD_CONFIG_LOG_H

struct config;

/* Writes the line, "DATADOG TRACER CONFIGURATION - " and JSON with the names that all tracers use. What is not set, and texts
 * that are no UTF-8, are left out; tags and rules too where the line would be longer than one may be. */
void config_log(const struct config *config);

#endif
