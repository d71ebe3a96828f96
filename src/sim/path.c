#include "path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum { DEVICE = 0x51 }; /* of no real file */

struct sim__path *sim__path_find(const struct sim__machine *machine,
                                 const char *name) {
  struct sim__path *path = machine->net->paths;
  while (path && strcmp(path->name, name) != 0) path = path->next;
  return path;
}

static struct sim__path *add(struct sim__machine *machine, const char *name,
                             ino_t inode, mode_t mode) {
  size_t size = strlen(name) + 1;
  struct sim__path *path = sim__new(sizeof *path + size);

  path->inode = inode;
  path->mode = mode;
  memcpy(path->name, name, size);
  path->next = machine->net->paths;
  machine->net->paths = path;
  return path;
}

ino_t sim__path_add(struct sim__machine *machine, const char *name,
                    mode_t mode) {
  ino_t inode = ++machine->net->inodes;
  add(machine, name, inode, mode);
  return inode;
}

void sim__path_unlink(struct sim__machine *machine, struct sim__path *path) {
  struct sim__path **at = &machine->net->paths;
  while (*at != path) at = &(*at)->next;
  *at = path->next;
  free(path);
}

int sim__path_link(struct sim__machine *machine, const struct sim__path *from,
                   const char *to) {
  if (sim__path_find(machine, to)) return -EEXIST;
  add(machine, to, from->inode, from->mode);
  return 0;
}

int sim__path_rename(struct sim__machine *machine, struct sim__path *from,
                     const char *to) {
  struct sim__path *old = sim__path_find(machine, to);

  if (old && old->inode == from->inode) return 0;
  if (old) sim__path_unlink(machine, old);
  add(machine, to, from->inode, from->mode);
  sim__path_unlink(machine, from);
  return 0;
}

void sim__path_stat(const struct sim__path *path, struct stat *out) {
  *out = (struct stat){.st_dev = DEVICE,
                       .st_ino = path->inode,
                       .st_mode = S_IFSOCK | path->mode,
                       .st_nlink = 1,
                       .st_blksize = 4096};
}

struct sim__listener *sim__path_listener(const struct sim__machine *machine,
                                         const char *name) {
  const struct sim__path *path = sim__path_find(machine, name);
  struct sim__listener *listener = path ? machine->net->listeners : NULL;

  while (listener && listener->inode != path->inode) listener = listener->next;
  return listener;
}

void sim__path_clear(struct sim__machine *machine) {
  while (machine->net->paths) sim__path_unlink(machine, machine->net->paths);
}
