/* Private to src/cli: what a service manager is told of a running host. */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

#include <callosum/host.h>

#include <stdbool.h>

enum { CLI_SERVICE_STATUS = 400 };

struct cli_service {
  rover_host_t *host; /* once the policy is loaded */
  const char *script;
  uv_timer_t watchdog, tick;
  bool is_main; /* the manager knows this process, and not one after it */
  bool stopping;
  char reloading[40];                   /* what has requested it, or "" */
  char failure[CLI_SERVICE_STATUS / 2]; /* of the last reload, or "" */
  char told[CLI_SERVICE_STATUS];        /* the last STATUS, ... */
  uint64_t told_at;                     /* ... and when, in ms of the loop */
};

/* To be called first: the watchdog is meant for this process alone, and not for
 * the children that it starts. */
void cli_service_open(void);
/* WATCHDOG_USEC=NUMBER, for a process that takes over, or NULL. */
const char *cli_service_watchdog(void);

/* Loading begins, in a process that takes over from another or does not. */
void cli_service_init(struct cli_service *service, uv_loop_t *loop,
                      const char *script, bool takes_over);
/* All is loaded, and listens: this process is the main one now, and says so if
 * it has `taken_over` from another. */
void cli_service_ready(struct cli_service *service, rover_host_t *host,
                       bool taken_over);
void cli_service_reloading(struct cli_service *service, const char *trigger);
void cli_service_reloaded(struct cli_service *service,
                          const rover_host_reload_t *result);
void cli_service_stopping(struct cli_service *service);
/* Another process is the main one. */
void cli_service_left(struct cli_service *service);
/* The host is closed. */
void cli_service_close(struct cli_service *service);

#endif
