#include "report.h"

#include <stdlib.h>
#include <string.h>

/* The life of a report: whoever makes it takes a snapshot of what it is about,
 * of which its write() makes text while it is read. A call reads no more than
 * takes about half a millisecond to make. */

enum { PIECE_MAX = 64 * 1024 };

int rover_host_report_read(rover_host_report_t *report, char *buffer,
                           size_t size) {
  if (!report || !buffer || size == 0) return UV_EINVAL;
  struct rover__text *text = &report->text;
  if (size > PIECE_MAX) size = PIECE_MAX;
  if (report->taken > 0 && text->length - report->taken < size) {
    text->length -= report->taken;
    memmove(text->bytes, text->bytes + report->taken, text->length);
    report->taken = 0;
  }
  while (!report->ended && text->length - report->taken < size)
    report->ended = !report->write(report, text);
  if (text->failed) return UV_ENOMEM;
  size_t left = text->length - report->taken;
  size_t count = left < size ? left : size;
  if (count > 0) memcpy(buffer, text->bytes + report->taken, count);
  report->taken += count;
  return (int)count;
}

void rover_host_report_free(rover_host_report_t *report) {
  if (!report) return;
  free(report->text.bytes);
  report->free(report);
}
