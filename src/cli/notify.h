/* Private to src/cli: what a service manager is told, as sd_notify(3) says. */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

/* Sends lines such as "READY=1", if there is somebody to be told. */
void cli_notify(const char *lines);

/* Waits until it has received what it was sent, but for a second at most. */
void cli_notify_wait(void);

#endif
