/* Private to src/sim: the names of Unix sockets, which each machine has for
 * itself. */
#ifndef SIM_PATH_H
#define SIM_PATH_H

#include <sys/stat.h>

#include "net.h"

/* A name of a socket; several names may be of one (link()). */
struct sim__path {
  struct sim__path *next;
  ino_t inode;
  mode_t mode;
  char name[];
};

/* Returns NULL if the machine has no socket of that name. */
struct sim__path *sim__path_find(const struct sim__machine *machine,
                                 const char *name);

/* Returns the inode of a new one. */
ino_t sim__path_add(struct sim__machine *machine, const char *name,
                    mode_t mode);

/* As link(), rename() and unlink(), for names that are virtual sockets. */
int sim__path_link(struct sim__machine *machine, const struct sim__path *from,
                   const char *to);
int sim__path_rename(struct sim__machine *machine, struct sim__path *from,
                     const char *to);
void sim__path_unlink(struct sim__machine *machine, struct sim__path *path);

void sim__path_stat(const struct sim__path *path, struct stat *out);

/* What listens on the socket of that name, or NULL. */
struct sim__listener *sim__path_listener(const struct sim__machine *machine,
                                         const char *name);

void sim__path_clear(struct sim__machine *machine);

#endif
