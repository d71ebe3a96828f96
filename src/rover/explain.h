/* Private to src/rover: how an attempt failed, in words. */
#ifndef ROVER_EXPLAIN_H
#define ROVER_EXPLAIN_H

#include "base.h"

/* How far an attempt is. */
enum rover__phase {
  ROVER__RESOLVING,
  ROVER__CONNECTING,
  ROVER__SECURING, /* the TLS handshake, if there is one */
  ROVER__READING,  /* the slot line */
  ROVER__HELD
};

enum { ROVER__TEXT_MAX = ROVER_HOST_MAX + 100 };

/* Describes what this machine has run out of, or what is not configured. */
const char *rover__explain_lack(int status);

/* Describes why a server is unreachable, and how far the attempt got. */
struct rover__failing {
  const char *host;
  enum rover__phase phase;
  int status;
  bool expired; /* by a deadline */
  bool partly;  /* part of the slot line had arrived */
};
const char *rover__explain(const rover_options_t *options,
                           const struct rover__failing *failing,
                           char text[ROVER__TEXT_MAX]);

#endif
