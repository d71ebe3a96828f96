/* Private to src/cli: standard output or error, written without waiting. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_output {
  int stream; /* its descriptor in the process, ... */
  int fd;     /* ... and the one that we write to */
  bool is_socket;
  bool may_block;
  bool sent_within; /* the last byte written is not a newline */
  bool gap;         /* something was lost after the last text accepted */
  bool lost_within; /* the last byte lost is not a newline */
  bool overflown;   /* nothing is queued until there is plenty of room */
  char *queue;      /* what could not be written yet */
  size_t length;
  size_t lost; /* lines, or parts of lines, not reported yet */
};

void cli_output_open(struct cli_output *output, int stream);
/* Writes or queues text without blocking. A line begins on a new line, whatever
 * came before. Returns how much was accepted; the rest is lost, and the caller
 * must count it; errno is EAGAIN if nothing reads the output. */
size_t cli_output_put(struct cli_output *output, const char *text,
                      size_t length, bool is_line);
/* Counts the lines in text that was lost. */
void cli_output_lose(struct cli_output *output, const char *text,
                     size_t length);
/* Writes the queue, blocking at most until the deadline (ms of uv_hrtime()).
 * Returns false if something is left. */
bool cli_output_flush(struct cli_output *output, uint64_t deadline);
/* Discards the queue, as lost. */
void cli_output_drop(struct cli_output *output);
void cli_output_close(struct cli_output *output);

#endif
