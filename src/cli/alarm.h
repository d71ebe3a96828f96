/* Private to src/cli: the timer behind the host's alarms. */
#ifndef CLI_ALARM_H
#define CLI_ALARM_H

#include <callosum/host.h>

/* Returns what a host's options have for `alarm`; NULL if there can be none.
 * Close it in the host's close_cb. */
rover_host_alarm_cb cli_alarm_open(void);
void cli_alarm_close(void);

#endif
