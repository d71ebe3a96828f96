/* Private to src/cli: standard output or error, written without waiting. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_output {
  int stream; /* its descriptor in the process, ... */
  int fd;     /* ... and that of ours */
  bool is_socket;
  bool may_block;
  bool sent_within; /* the last byte written ends no line */
  bool gap;         /* something was lost since the last text that was not */
  bool lost_within; /* the last byte lost ends no line */
  bool overflown;   /* nothing is queued until there is room for much */
  char *queue;      /* what could not be written yet */
  size_t length;
  size_t lost; /* lines, in full or in part, that are not reported yet */
};

void cli_output_open(struct cli_output *output, int stream);
/* Writes or queues text, and never waits. A line begins as such, whatever came
 * before. Returns how much was taken; the rest is lost, and the caller's to
 * count; errno is EAGAIN where nobody reads. */
size_t cli_output_put(struct cli_output *output, const char *text,
                      size_t length, bool is_line);
/* Counts the lines in text that was lost. */
void cli_output_lose(struct cli_output *output, const char *text,
                     size_t length);
/* Writes the queue, waiting until the deadline (ms of uv_hrtime()) at most.
 * Returns false if something is left. */
bool cli_output_flush(struct cli_output *output, uint64_t deadline);
/* Loses the queue. */
void cli_output_drop(struct cli_output *output);
void cli_output_close(struct cli_output *output);

#endif
