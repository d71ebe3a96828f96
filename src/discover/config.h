/* Private to src/discover and src/lua: what is declared of a source, in one
 * block of memory. It never changes; a reload makes another. */
#ifndef DISCOVER_CONFIG_H
#define DISCOVER_CONFIG_H

#include <callosum/discover.h>

#include <stdbool.h>

struct discover__kind;

/* An option of a provider's own. Its value, or values, are settings. */
struct discover__option {
  const char *name; /* as in Lua; NULL ends the list */
  enum {
    DISCOVER__TEXT,    /* 1 to 4,096 bytes */
    DISCOVER__PATH,    /* the same; in a sandbox it must be allowed */
    DISCOVER__FLAG,    /* "1" if true, otherwise none */
    DISCOVER__HEADERS, /* a table: one "Name: value" for each */
    DISCOVER__TLS      /* a table: "tls.ca", "tls.cert" and "tls.key", which are
                          paths, and "tls.serverName" */
  } type;
  bool required;
};

struct discover__setting {
  const char *key, *value;
};

struct discover__config {
  unsigned refs;
  const struct discover__kind *kind;
  rover_source_options_t options;
  const char *place; /* the first setting, for messages: see below */
  size_t count;
  struct discover__setting settings[];
};

/* How much of a URL may be logged: what goes before its query, which often holds
 * a secret. */
size_t discover__config_shown(const char *url);

/* Copies all of it. Errors: UV_ENOMEM. */
int discover__config_new(struct discover__config **config,
                         const struct discover__kind *kind,
                         const rover_source_options_t *options,
                         const struct discover__setting settings[],
                         size_t count);

struct discover__config *discover__config_ref(struct discover__config *config);
void discover__config_unref(struct discover__config *config); /* or NULL */

/* The first of that name, or NULL. */
const char *discover__config_get(const struct discover__config *config,
                                 const char *key);

/* Whether both ask the same of the same, if perhaps in another manner: with other
 * headers, another token or other certificates. */
bool discover__config_same_place(const struct discover__config *one,
                                 const struct discover__config *other);

/* Whether a provider of the one may go on with the other. */
bool discover__config_same(const struct discover__config *one,
                           const struct discover__config *other);

#endif
