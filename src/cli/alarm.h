/* Private to src/cli: the timer behind the host's alarms. */
#ifndef CLI_ALARM_H
#define CLI_ALARM_H

#include <callosum/host.h>

/* Returns the callback for a host's option `alarm`, or NULL if there can be no
 * timer. Close it in the host's close_cb. */
rover_host_alarm_cb cli_alarm_open(void);
void cli_alarm_close(void);

#endif
