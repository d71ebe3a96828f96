/* Private to src/cli: a terminal that is drawn on in place. */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <stdbool.h>

/* What a line of a frame may begin with. */
#define CLI_SCREEN_BOLD "\1"
#define CLI_SCREEN_REVERSE "\2"

/* Takes the terminal, until the process ends or cli_screen_close(). False if
 * standard output is none that can be drawn on. */
bool cli_screen_open(void);
void cli_screen_close(void);

void cli_screen_size(int *columns, int *rows);

/* Draws lines, each with its end; what does not fit is cut. */
void cli_screen_draw(const char *lines);

enum { CLI_SCREEN_TIME = 0, CLI_SCREEN_CHANGED = -1, CLI_SCREEN_GONE = -2 };

/* Waits for a key, or returns why there was none: the time is over, the window
 * has changed, nobody is at the terminal any more. */
int cli_screen_key(double seconds);

#endif
