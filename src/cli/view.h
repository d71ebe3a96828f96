/* Private to src/cli: a host's status, as text. */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Each writes lines to `out`. */

/* "balanced: peak to mean 1.04, ...", after the rover's name if that
 * is to be told. */
void cli_view_verdict(FILE *out, const json_t *rover, bool named);
/* The columns' names, for lines of so many columns; and at most `rows` servers. */
void cli_view_head(FILE *out, int columns);
void cli_view_servers(FILE *out, const json_t *rover, int columns, size_t rows);
void cli_view_relays(FILE *out, const json_t *status);
void cli_view_fronts(FILE *out, const json_t *status);
void cli_view_pools(FILE *out, const json_t *status);
void cli_view_workers(FILE *out, const json_t *status);
/* State, generation, policy. */
void cli_view_host(FILE *out, const json_t *status);
void cli_view_reloads(FILE *out, const json_t *status);
/* The last warnings and errors. */
void cli_view_errors(FILE *out, const json_t *status, size_t rows);

#endif
