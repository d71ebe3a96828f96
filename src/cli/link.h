/* Private to src/cli: what a process and its successor say to each other, in
 * lines of words.
 *
 * Old to new:  upgrade 1 COUNT     of listeners, whose descriptors are 3, ...
 *              listener NOUN NAME FDNAME PATH     for each of them
 * New to old:  ready     the policy is loaded, and nothing is accepted yet
 * Old to new:  left LISTENER OWNS     here nothing is accepted any more; whether
 *                                     the file of a Unix socket is the new one's
 *              taken LISTENER INDEX ADDRESS     its slots, and their clients' IP
 *                                               addresses, if they have one
 *              steered ROVER ID HOST PORT HOW ADDED MS     decided by hand about
 *                                                          a server
 *              drained MS     and the host
 *              go
 * New to old:  serving     from here on it is too late to go back
 * Old to new:  main     it is the service's main process
 *              freed LISTENER INDEX     as connections end
 *
 * Both have the sockets that listen from the start. Who accepts, and who goes on
 * if the other one ends:
 *
 *   until `go`        the old one accepts, and all is its own. It goes on alone;
 *                     the new one ends with it.
 *   until `serving`   neither accepts. The old one can take back what it has
 *                     left, but kills the new one first. The new one has all it
 *                     needs: it goes on alone, with every slot free, since the
 *                     connections of the old one have ended with it.
 *   from then on      the new one accepts. The old one only drains.
 *
 * The old one closes its end only as it ends, or once it has sent SIGKILL, so the
 * end of the link always means one of these.
 *
 * A listener is known by its place in the list, from 0. Lines that begin with
 * another word are for versions to come, and mean nothing. */
#ifndef CLI_LINK_H
#define CLI_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Has the number of the link's descriptor in a new process. */
#define CLI_LINK_VARIABLE "CALLOSUM_UPGRADE"

enum { CLI_LINK_WORDS = 8, CLI_LINK_LINE = 4096 };

/* Lines as they arrive. Zero it. */
struct cli_link {
  char line[CLI_LINK_LINE]; /* so far */
  size_t length;
};

/* `words` has NULL for those that are not there; a word is "" if it was. */
typedef void (*cli_link_cb)(void *data, char *words[CLI_LINK_WORDS]);

/* Calls back for each line that is whole now. Returns false if one is too
 * long. */
bool cli_link_feed(struct cli_link *in, const char *bytes, size_t length,
                   cli_link_cb cb, void *data);

/* Writes a blank and a word, which may have any bytes; NULL is "". */
void cli_link_put(FILE *out, const char *word);

/* The number that a word is, or -1. */
long cli_link_number(const char *word);

#endif
