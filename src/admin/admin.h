/* Private to src/admin and src/cli: a running host, to be seen and steered by
 * HTTP. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <callosum/host.h>

#include <stdbool.h>

struct admin;

struct admin_options {
  rover_host_t *host;
  int mode;                 /* of Unix sockets */
  bool control;             /* TCP ports of this machine alone may change
                               things, as Unix sockets may */
  unsigned server_limit;    /* the most servers of a rover that have metrics of
                               their own, unless these are asked for */
  const char *const *hosts; /* names of this machine, ended by NULL */
  /* Something to be logged, with a field unless `key` is NULL. */
  void (*log)(void *data, rover_host_level_t level, const char *message,
              const char *key, const char *value);
  /* Sets the level of the log; false if that is none. */
  bool (*set_level)(void *data, const char *level);
  void (*closed)(void *data); /* it is freed after this */
  void *data;
};

/* Parses "HOST:PORT", "[::1]:PORT", "PORT" of 127.0.0.1, or a path with a
 * slash. Returns NULL, or what is wrong. `is_local` is whether only this
 * machine can reach it. */
const char *admin_address_check(const char *text, bool *is_path,
                                bool *is_local);

/* Ownership: what the options point to has to live as long. Errors:
 * UV_ENOMEM. */
int admin_new(struct admin **admin, const struct admin_options *options);

/* Listens there, and logs the address, or why it cannot. Unless it is negative,
 * `fd` is a socket which listens there already. Ownership: `fd` is the admin's
 * if this succeeds. Errors: the kernel's. */
int admin_listen(struct admin *admin, const char *address, int fd);

/* Of the address that was given as number `index`, from 0, as of a relay: its
 * socket, or UV_EBADF; and when another process takes over. */
int admin_fd(struct admin *admin, size_t index);
int admin_leave(struct admin *admin, size_t index);
int admin_stay(struct admin *admin, size_t index, bool owns_file);

/* Another process has taken over: what is under way is answered, and nothing
 * else. */
void admin_finish(struct admin *admin);

/* To be called in the host's callbacks of these names, so that who asks for a
 * reload gets its result; and while changes are held back, with the reason, or
 * NULL when they are not any more: until then they are refused. */
void admin_reloading(struct admin *admin);
void admin_error(struct admin *admin, const char *traceback);
void admin_reloaded(struct admin *admin, const rover_host_reload_t *result);
void admin_hold(struct admin *admin, const char *why);

/* Closes everything, and calls back. */
void admin_close(struct admin *admin);

#endif
