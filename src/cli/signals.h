/* Private to src/cli: the signals of the process. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* To be called first in main(). From then on SIGTERM and SIGINT end the
 * process, and SIGHUP and SIGUSR2 do nothing. */
void cli_signals_open(void);
/* From now on these end it too. */
void cli_signals_plain(void);
/* From now on no signal caused by a write ends the process. With
 * `hangup_stops`, SIGHUP counts as a signal to stop. */
void cli_signals_running(bool hangup_stops);
/* Of the signals that are forwarded, to be called when a policy was loaded, whose
 * C modules may have blocked them. */
void cli_signals_unblock(void);
/* Starts the watcher. The second signal to stop is not forwarded to it, but
 * ends the process at once. */
int cli_signals_forward(uv_signal_t *to, uv_signal_cb cb, int signum);
/* Closes the watcher, started or not. What would not have ended the process
 * still does not. */
void cli_signals_close(uv_signal_t *watcher, int signum);
/* Whether the parent process ignored the signal; and the numbers of all such
 * signals, separated by blanks. */
bool cli_signals_ignored(int signum);
const char *cli_signals_list(char *text, size_t size);

#endif
