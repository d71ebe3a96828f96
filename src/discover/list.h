/* Private to src/discover: a list of servers, in one block of memory, and how
 * it is read and written as text. Nothing here depends on anything else, so it
 * may run in any thread.
 *
 * The text is either JSON as of Prometheus' file_sd and http_sd,
 *
 *   [{"targets": ["10.0.0.7:4040"], "labels": {"weight": "2"}}]
 *
 * or plain: a server a line, `host:port`, or `host` if there is a port for all,
 * and perhaps a weight behind it; what follows a # is a comment. */
#ifndef DISCOVER_LIST_H
#define DISCOVER_LIST_H

#include "provider.h"

struct discover__list {
  size_t count;
  size_t invalid;  /* entries that were left out */
  /* The owner's: */
  bool is_unasked; /* a watch brought it */
  bool is_partial; /* it removes nothing */
  bool overflows;  /* there was no room for all of it */
  struct discover__entry entries[];
};

enum { DISCOVER__ID_SIZE = ROVER_HOST_MAX + 16 };

/* Copies the entries that are valid, in their canonical form: addresses as
 * inet_ntop() writes them, names in lower case, without a dot at the end. To be
 * freed. Errors: UV_ENOMEM; UV_E2BIG: more than ROVER_SOURCE_SERVERS_MAX. */
int discover__list_new(struct discover__list **list,
                       const struct discover__entry *entries, size_t count);

/* Reads a text. `port` is that of servers without one, or 0. Errors: UV_EPROTO,
 * UV_E2BIG, UV_ENOMEM; `message` then says what is wrong, and where. */
int discover__list_parse(struct discover__list **list, const char *bytes,
                         size_t length, int port, char *message, size_t size);

/* Writes "10.0.0.7:4040" or "[::1]:4040"; returns false if that would be more
 * than a server's id can be. */
bool discover__list_id(char id[DISCOVER__ID_SIZE], const char *host, int port);

#endif
