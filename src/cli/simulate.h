/* Private to src/cli: the command `simulate`. */
#ifndef CLI_SIMULATE_H
#define CLI_SIMULATE_H

/* Becomes the program of that name, with these operands and options of the
 * command line, which it parses itself. `exe` is the path of the command's own
 * file, or NULL. Returns the exit status if that fails. */
int cli_simulate(const char *exe, char **argv);

#endif
