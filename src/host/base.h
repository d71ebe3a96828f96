/* Private to src/host: what a host and its policies are made of.
 *
 * Each file of src/host owns some of these fields, and its header declares what
 * can be done with them. A policy is found from any thread of its Lua state by
 * host__policy_of(). */
#ifndef HOST_BASE_H
#define HOST_BASE_H

#include <callosum/host.h>

#include <stdatomic.h>

#include "../lua/state.h"
#include "../net/reserve.h"

enum host__budget_kind { HOST__CALL, HOST__LOAD };

/* The time of the running call: see limits.c. What is atomic is also read by a
 * signal handler, see rover_host_interrupt(). */
struct host__budget {
  lua_State *_Atomic running; /* the thread, of whichever policy, or NULL */
  _Atomic uint64_t deadline;  /* in uv_hrtime()'s time */
  _Atomic uint64_t alarm;     /* when the requested one is due, or 0 */
  atomic_bool over;
  enum host__budget_kind kind;
  unsigned ms;
  bool closing; /* a state is being closed: its finalizers share one budget */
};

/* The reload under way: see reload.c. */
struct host__reload {
  rover_host_reload_t result; /* what is known of it so far */
  char trigger[32];
  struct host__policy *old; /* while the new one adopts its sockets */
  uint64_t held;            /* how long it blocked the loop, in ns */
};

/* A policy's file and arguments, in one block of memory. */
struct host__script {
  const char *path;
  int argc;
  char *argv[];
};

/* What has happened: see record.c. */
struct host__record {
  double started, loaded;       /* when, in seconds since 1970 */
  struct host__trouble *newest; /* warnings and errors */
  unsigned troubles;            /* how many of these */
  struct host__mark {
    double at;
    uint64_t generation;
    bool ok;
  } marks[32];     /* the last reloads, in a circle */
  unsigned marked; /* reloads in all */
  double failed;   /* when the last one did that failed, 0: none, ... */
  char *error, *traceback; /* ... and why; or NULL */
};

struct rover_host_s {
  uv_loop_t *loop;
  rover_host_options_t options; /* its text is the host's own copy */
  struct host__policy *policy;  /* the one loaded, or NULL */
  struct host__script *script;  /* of the one loaded or being loaded, or NULL */
  rover_host_stats_t stats;
  struct host__record record;
  struct host__history *history; /* NULL unless options.history */
  struct host__budget budget;
  struct rover__lua_owner rovers; /* of all its policies */
  struct host__luv *ending;  /* luv of ended policies with requests pending */
  struct discover__watch *watch; /* NULL unless options.watch */
  uv_timer_t daily;   /* see certificates.c */
  uv_timer_t stopper; /* fires once the call that asked to stop has returned */
  int stop_status;
  uv_idle_t reloader;   /* runs while a reload is wanted or under way */
  void (*reload_turn)(rover_host_t *host);
  bool reload_wanted;
  char hold[64];        /* why reloads are held back, or "" */
  char trigger[32];     /* what wants it */
  bool reloading, reload_failed; /* the last one */
  struct host__reload reload;
  bool loading;         /* a policy's script is being prepared and run */
  bool checking;        /* it is only being checked */
  struct net__reserve spares; /* descriptors: see spare.c */
  unsigned handles; /* not yet closed: of libuv's, and policies */
  bool drained; /* by hand */
  uint64_t drained_until;
  bool closing;
  void (*closed)(rover_host_t *host);
  rover_host_close_cb close_cb;
};

struct host__policy {
  rover_host_t *host;
  lua_State *L;
  rover__lua_t *lua;
  struct host__luv *luv; /* NULL until it is required */
  void (*enter_luv)(struct host__luv *luv); /* before each call; or NULL */
  bool luv_tried;
  bool ended;            /* its unload handlers run, or have run */
  int stop_wanted;       /* the status, or -1; asked for while staged */
  int unload;            /* references: the array of unload handlers, ... */
  int carry;             /* ... the table whose field is host.carry */
  char *folder;          /* of its script, in the sandbox; or NULL */
  char *traceback;       /* of the error that ends the running call */
  struct host__arena *arena; /* the state's memory: see limits.c */
  size_t memory;         /* bytes allocated, ... */
  size_t collected;      /* ... after the last collection at the cap, ... */
  size_t held_max;       /* ... and that the process may hold for them */
  const void *exempted;  /* a call that may exceed that: see limits.c */
  bool capped;           /* the last allocation failed because of the cap */
  int no_memory[2];      /* references: the messages, by the field above */
  uint64_t turn;         /* deadline of luv's turn; 0 outside of one */
  int guards, guard_type; /* references: see finalizer.c, ... */
  int weak_key;           /* ... and weak.c; 0 outside the sandbox */
  char warning[256];     /* so far */
};

static inline struct host__policy *host__policy_of(lua_State *L) {
  /* A coroutine's extra space is a copy of the main thread's. */
  return *(struct host__policy **)lua_getextraspace(L);
}

#endif
