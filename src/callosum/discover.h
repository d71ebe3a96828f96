/* callosum/discover.h - what a program can ask of the sources of servers that a
 * policy declares: see rover_host_each() in <callosum/host.h>, and
 * `callosum.discover` in callosum-policy(5). The rules of <callosum/rover.h>
 * apply here too. */
#ifndef CALLOSUM_DISCOVER_H
#define CALLOSUM_DISCOVER_H

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_source_s rover_source_t;

/* -- Options -------------------------------------------------------------- */

#define ROVER_SOURCE_SERVERS_MAX 100000 /* of one source */

/* As ROVER_OPTIONS_MAP of <callosum/rover.h>. An interval of 0 is that of the
 * kind of source. */
#define ROVER_SOURCE_OPTIONS_MAP(XX)                                           \
  XX(uint64_t, interval, MS, 1, ROVER_MS_MAX, 0, "interval",                   \
     "The time from one look-up to the next, of which each is a random 0.9 "   \
     "to 1.1.")                                                                \
  XX(uint64_t, timeout, MS, 1, ROVER_MS_MAX, 5000, "timeout",                  \
     "How long a look-up may take.")                                           \
  XX(uint64_t, removal_delay, MS, 0, ROVER_MS_MAX, 30000,                 \
     "removalDelay",                                                           \
     "How long a server that is no longer listed stays, in case it is listed " \
     "again.")                                                                 \
  XX(int, allow_empty, FLAG, 0, 1, 0, "allowEmpty",                            \
     "Whether an empty list is believed. Otherwise the servers stay.")         \
  XX(double, max_drop, FRACTION, 0, 1, 0.5, "maxDrop",                         \
     "If more than this fraction of the servers is gone at once, that is "     \
     "believed only after `confirm` such answers.")                            \
  XX(unsigned, confirm, COUNT, 1, UINT32_MAX, 3, "confirm",                    \
     "How many answers in succession it takes that lack about the same "         \
     "servers: of those that one of two lacks, nine in ten are lacking in both.")

typedef struct rover_source_options_s {
#define XX(type, name, kind, least, most, initial, lua, text) type name;
  ROVER_SOURCE_OPTIONS_MAP(XX)
#undef XX
  int port;          /* of servers that are listed without one, or 0 */
  int family;        /* 4, 6, or 0 for both */
  const char *cache; /* the path of a file, or NULL */
  uint64_t reserved[8];
} rover_source_options_t;

/* -- Counters ------------------------------------------------------------- */

/* As ROVER_STATS_MAP of <callosum/rover.h>; a FLAG is 0 or 1, and a
 * TIME a gauge in ms. */
#define ROVER_SOURCE_STATS_MAP(XX)                                             \
  XX(lookups, COUNTER, "lookups", "Look-ups made.")                            \
  XX(changes, COUNTER, "changes",                                              \
     "Answers that listed a new server, or one less, and were believed.")      \
  XX(unchanged, COUNTER, "unchanged", "Answers that changed nothing.")         \
  XX(failures, COUNTER, "failures",                                            \
     "Look-ups that brought no answer, or none that could be read.")           \
  XX(empty, COUNTER, "empty", "Empty answers that were not believed.")         \
  XX(doubted, COUNTER, "doubted",                                              \
     "Answers from which more than max_drop of the servers was gone, and "     \
     "which were not believed.")                                               \
  XX(invalid, COUNTER, "invalid", "Entries left out, since they were wrong.")  \
  XX(added, COUNTER, "added", "Servers that came.")                            \
  XX(dropped, COUNTER, "dropped", "Servers that went.")                        \
  XX(servers, GAUGE, "servers", "Servers listed now.")                         \
  XX(leaving, GAUGE, "leaving",                                                \
     "Servers that are no longer listed, and stay for removal_delay.")         \
  XX(stale, FLAG, "stale",                                                    \
     "Whether the last look-up, or watch, failed or was not believed, or "     \
     "there was none.")                                                        \
  XX(age, TIME, "age",                                                        \
     "How long ago the last answer was believed, in ms; 0 if none was.")       \
  XX(next, TIME, "next",                                                      \
     "The time until the next look-up, in ms; 0 while one is under way.")

typedef struct rover_source_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_SOURCE_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[32 ROVER_SOURCE_STATS_MAP(XX)]; /* zero */
#undef XX
} rover_source_stats_t;

ROVER_EXTERN void rover_source_stats_get(const rover_source_t *source,
                                         rover_source_stats_t *stats);

/* The name of its kind, as "file", and what it asks, as the path of the file,
 * or a URL without its query, which may hold a secret. They live as long as the
 * source, and its policy. */
ROVER_EXTERN const char *rover_source_kind(const rover_source_t *source);
ROVER_EXTERN const char *rover_source_place(const rover_source_t *source);

/* Options, with defaults filled in. */
ROVER_EXTERN const rover_source_options_t *
rover_source_options(const rover_source_t *source);

#ifdef __cplusplus
}
#endif
#endif
