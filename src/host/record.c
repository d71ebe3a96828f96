#include "record.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

/* Memory is bounded: so many different warnings and errors, the newest first,
 * so many reloads, and the failure of one. What is logged again counts once
 * more. Where there is no memory, something is missing. */

enum { TROUBLES_MAX = 50, ERROR_MAX = 2000, TRACEBACK_MAX = 8000 };

double host__wall_time(void) {
  uv_timeval64_t now;
  uv_gettimeofday(&now);
  int64_t ms = now.tv_sec * 1000 + now.tv_usec / 1000;
  return (double)ms / 1000;
}

void host__record_open(struct host__record *record) {
  record->started = host__wall_time();
}

void host__record_free(struct host__record *record) {
  struct host__trouble *trouble, *next;
  DL_FOREACH_SAFE(record->newest, trouble, next) free(trouble);
  free(record->error);
  free(record->traceback);
}

/* -- Warnings and errors -------------------------------------------------- */

/* Appends text to a string of that size; cuts before a character, not in it. */
static void append(char *to, size_t size, const char *bytes, size_t length) {
  size_t used = strlen(to), left = size - 1 - used;

  if (length > left) {
    length = left;
    while (length > 0 && ((unsigned char)bytes[length] & 0xc0) == 0x80)
      length--;
  }
  memcpy(to + used, bytes, length);
  for (size_t i = used; i < used + length; i++)
    if (!to[i]) to[i] = ' '; /* a NUL would end it */
  to[used + length] = '\0';
}

static bool is_plain(rover_host_text_t text) {
  return text.length > 0 && !memchr(text.bytes, ' ', text.length);
}

static void describe(struct host__trouble *trouble,
                     const rover_host_log_t *log) {
  size_t size = sizeof trouble->detail;
  char *to = trouble->detail;

  append(trouble->message, sizeof trouble->message, log->message.bytes,
         log->message.length);
  for (size_t i = 0; i < log->field_count; i++) {
    const rover_host_field_t *field = &log->fields[i];
    bool plain = is_plain(field->value);
    if (!strcmp(field->key.bytes, "traceback")) continue;
    if (*to) append(to, size, " ", 1);
    append(to, size, field->key.bytes, field->key.length);
    append(to, size, plain ? "=" : "='", plain ? 1 : 2);
    append(to, size, field->value.bytes, field->value.length);
    if (!plain) append(to, size, "'", 1);
  }
}

static struct host__trouble *find(const struct host__record *record,
                                  const struct host__trouble *as) {
  struct host__trouble *trouble;

  DL_FOREACH(record->newest, trouble) {
    if (trouble->level == as->level && !strcmp(trouble->message, as->message) &&
        !strcmp(trouble->detail, as->detail))
      return trouble;
  }
  return NULL;
}

void host__record_log(struct host__record *record,
                      const rover_host_log_t *log) {
  struct host__trouble now = {.level = log->level};

  if (log->level < ROVER_HOST_WARN) return;
  describe(&now, log);
  struct host__trouble *trouble = find(record, &now);
  if (!trouble && record->troubles == TROUBLES_MAX) {
    trouble = record->newest->prev; /* the oldest */
    DL_DELETE(record->newest, trouble);
    *trouble = now;
  } else if (!trouble) {
    trouble = malloc(sizeof *trouble);
    if (!trouble) return;
    *trouble = now;
    record->troubles++;
  } else {
    DL_DELETE(record->newest, trouble);
  }
  trouble->at = host__wall_time();
  trouble->count++;
  DL_PREPEND(record->newest, trouble);
}

/* -- Reloads -------------------------------------------------------------- */

void host__record_load(struct host__record *record) {
  record->loaded = host__wall_time();
}

void host__record_reload(struct host__record *record, uint64_t generation,
                         bool ok) {
  const size_t most = sizeof record->marks / sizeof *record->marks;
  record->marks[record->marked++ % most] =
      (struct host__mark){host__wall_time(), generation, ok};
}

void host__record_failure(struct host__record *record, const char *error,
                          const char *traceback) {
  free(record->error);
  free(record->traceback);
  record->error = strndup(error, ERROR_MAX);
  record->traceback = traceback ? strndup(traceback, TRACEBACK_MAX) : NULL;
  record->failed = host__wall_time();
}
