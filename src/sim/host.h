/* Private to src/sim: a virtual host, and the policy that runs there. */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include <callosum/host.h>

#include "kernel.h"
#include "told.h"

struct lua_State;
struct sim__host;

/* What all hosts of a run have in common. */
struct sim__hosts {
  const char *lua_path; /* as in rover_host_options_t */
  const char *policy;   /* the script's path */
  int argc;             /* and its arguments */
  char **argv;
  uint64_t seed;
  uint32_t shown; /* from 1: whose output goes to standard error; 0: nobody's */
  /* A state of the host's policy is about to be loaded, see
   * rover_host_open_cb. May raise Lua errors. NULL: nothing. */
  void (*open)(void *data, struct sim__host *host, struct lua_State *L);
  void *data;
  struct sim__tellings errors, warnings;
  uint32_t running;                 /* how many hosts */
  uint32_t failed;                  /* how many could not load the policy */
  uint64_t reloads, failed_reloads; /* how many there were */
};

enum sim__host_state {
  SIM__HOST_OFF, /* has never run */
  SIM__HOST_RUNNING,
  SIM__HOST_FAILED,  /* could not load the policy */
  SIM__HOST_STOPPED, /* the policy called host.stop() */
  SIM__HOST_LOST     /* see sim__host_lose() */
};

struct sim__host {
  struct sim__hosts *hosts;
  struct sim__machine *machine; /* its data is this host; NULL: never ran */
  rover_host_t *host;
  uint32_t index; /* from 0 */
  enum sim__host_state state;
  uint32_t connections;    /* as the servers count them; the owner's */
  uint64_t states;         /* of policies, so far */
  const char *script;      /* what is read instead of the policy; or NULL. See
                           script.c */
  void *load;              /* see load.h */
  struct sim__event later; /* the owner's */
};

/* Boots a host, on a machine of that number: loads the policy. */
void sim__host_boot(struct sim__host *host, uint32_t machine);

/* It vanishes, as without power: nobody is told. What it had in this process
 * stays there. */
void sim__host_lose(struct sim__host *host);

/* Reloads the policy; from now on it is read from that file, if not NULL, as if
 * that had replaced it. */
void sim__host_reload(struct sim__host *host, const char *script);

/* Tells its rovers of a server. */
void sim__host_add_server(struct sim__host *host, const char *id,
                          const char *name, int port);

/* Adds the counters of its rovers. */
void sim__host_count(struct sim__host *host, rover_stats_t *sum);

/* Calls `fn` for each socket that its rovers keep. */
void sim__host_each_socket(struct sim__host *host,
                           void (*fn)(void *arg, const rover_socket_t *socket),
                           void *arg);

/* From here on what policies print is discarded, but for that of the host that
 * is shown. Errors: a negative UV_E* code. */
int sim__host_capture(void);

#endif
