/* Private to src/host: log lines. */
#ifndef HOST_SAY_H
#define HOST_SAY_H

#include "base.h"

/* A field of a log line. */
struct host__field {
  const char *key; /* NULL ends a list of them */
  rover_host_type_t type;
  rover_host_text_t text; /* of a string; NULL leaves the field out */
  uint64_t number;
  bool is_tenths; /* the number counts tenths */
};

struct host__field host__string(const char *key, const char *string);
struct host__field host__count(const char *key, uint64_t count);
struct host__field host__ms(const char *key, double ms);

#define HOST__FIELDS(...) ((const struct host__field[]){__VA_ARGS__, {0}})

/* `fields` may be NULL. */
void host__log(rover_host_t *host, rover_host_level_t level,
               const char *message, const struct host__field fields[]);

/* The same of a line that is complete. */
void host__log_line(rover_host_t *host, const rover_host_log_t *log);

/* What the policy's code has raised. */
struct host__error {
  const char *text;      /* any bytes, then a NUL */
  const char *shown;     /* the same, with \0 for each NUL in it */
  size_t length;         /* of the text */
  const char *traceback; /* or NULL */
};

/* The policy cannot be loaded, or reloaded. Returns `status`, which is the
 * reason where there is no `error`. */
int host__load_failed(rover_host_t *host, const char *path, int status,
                      const struct host__error *error);

/* The policy's code has raised an error; `occasion` may be NULL. */
void host__log_error(rover_host_t *host,
                     const struct rover__lua_occasion *occasion,
                     const struct host__error *error);

#endif
