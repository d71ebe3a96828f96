/* Private to src/cli: what a service manager is told, as sd_notify(3) says. */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

#include <stdbool.h>

/* Whether there is somebody to be told. */
bool cli_notify_is_wanted(void);

/* Sends lines such as "READY=1", if so. */
void cli_notify(const char *lines);

/* The same for what is sent again and again, which may be lost: never waits. */
void cli_notify_again(const char *lines);

/* Waits until it has received what it was sent, but for a second at most. */
void cli_notify_wait(void);

#endif
