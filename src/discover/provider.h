/* Private to src/discover and src/lua: what a source asks, such as a file, a
 * name or a URL.
 *
 * A source declares its settings, and once it starts, opens its provider with
 * them. It then decides when to poll, what of an answer to believe, and when an
 * answer is late; the provider only asks. Each poll ends in exactly one of the
 * calls below, from within poll() or later, unless stop() has come first. One
 * that watches may also answer without having been polled. */
#ifndef DISCOVER_PROVIDER_H
#define DISCOVER_PROVIDER_H

#include "config.h"

/* -- What a provider calls ------------------------------------------------ */

/* May all be called from within poll(), and call stop() and close() of the
 * provider before they return: it must not use itself afterwards. */

/* A server that was found. What is not valid is left out, and counted. */
struct discover__entry {
  const char *host; /* an IP address, or a name for the system's resolver */
  int port;
  unsigned weight; /* 0: none was given */
};

/* What the whole list can be made of: in a thread, if it is long. */
struct discover__list;
struct discover__answer {
  void *from;       /* given away */
  size_t count;     /* of entries in it */
  uint64_t ttl;     /* ms until it is to be asked for again; 0: the interval */
  const char *note; /* or NULL: why it is empty ("NXDOMAIN"), or what of it is
                       missing (that AAAA failed); a list with a note does not
                       remove servers, unless it is empty. Lives as `from` */
  /* Errors: UV_ENOMEM; UV_E2BIG: more than ROVER_SOURCE_SERVERS_MAX. */
  int (*make)(void *from, struct discover__list **list);
  void (*drop)(void *from);
};
void discover__source_answer(rover_source_t *source,
                             const struct discover__answer *answer);

/* A list that is ready. Ownership: it is the source's. */
void discover__source_list(rover_source_t *source, struct discover__list *list,
                           const char *note);

/* The same as text, JSON of Prometheus' file_sd and http_sd or a plain list,
 * which is parsed in a thread. Ownership: the source frees `bytes`, of
 * malloc(). */
void discover__source_text(rover_source_t *source, char *bytes,
                           size_t length, uint64_t ttl);

/* Nothing has changed since the last answer, which was believed. (A source that
 * did not believe it says so: see `is_fresh` below.) */
void discover__source_same(rover_source_t *source);

/* No answer can be had. `message` is a part of a sentence, as "no answer from
 * 10.0.0.2:53 within 5000 ms". */
void discover__source_failed(rover_source_t *source, int status,
                             const char *message);

/* Not an answer, and not the end of a poll: `message` is reported. With `is_stale`,
 * what is known may not be up to date until an answer is believed. */
void discover__source_warn(rover_source_t *source, int status, bool is_stale,
                           const char *message);

/* Not an answer: something has changed, so it is to be polled at once, or again
 * once the poll that is under way has ended. */
void discover__source_wake(rover_source_t *source);

/* After close(): the provider is gone. */
void discover__source_provider_closed(rover_source_t *source);

/* At random, in [0, 1): to spread what a fleet would do at the same moment. */
double discover__source_draw(rover_source_t *source);

uv_loop_t *discover__source_loop(const rover_source_t *source);

/* Lives until the caller returns, since a reload may bring another one, with the
 * same settings but other times; or longer if a reference is taken. */
struct discover__config *discover__source_config(const rover_source_t *source);

/* -- What a provider is --------------------------------------------------- */

struct discover__kind {
  const char *name;  /* "file", for discover.file */
  uint64_t interval; /* the default, in ms; of one that watches, how often it
                        lists all the same */
  bool watches;
  bool http; /* speaks HTTP, which in a sandbox has to be permitted */
  const struct discover__option *options; /* its own; the last has no name. The
                                             first says what it asks, for
                                             messages */
  /* Writes what is wrong with the settings, as "url: http:// or https://
   * expected, got 'x'", and returns false. May be NULL. */
  bool (*check)(const struct discover__config *config, char *message,
                size_t size);
  /* Errors: UV_ENOMEM; libuv's. */
  int (*open)(void **provider, rover_source_t *source);
  /* Asks for all. With `is_fresh` false, the last answer was not believed, or
   * there was none: it must not be answered with discover__source_same(). Comes
   * again only once the poll before has ended. */
  void (*poll)(void *provider, bool is_fresh);
  /* Forgets what is under way: nothing of it is called back any more. One that
   * watches begins anew with the next poll. */
  void (*stop)(void *provider);
  /* Calls back nothing but discover__source_provider_closed(). */
  void (*close)(void *provider);
};

/* All of them; the last is NULL. */
extern const struct discover__kind *const discover__kinds[];

#endif
