#include "steer.h"

#include <string.h>

#include "../lua/bind_front.h"
#include "../lua/object.h"
#include "../net/options.h"
#include "../rover/known.h"
#include "say.h"

/* What is decided about servers is the rover's, which outlives policies: see
 * src/rover/steer.c. That the host is drained is the host's. */

static uint64_t now_ms(void) { return uv_hrtime() / 1000000; }

/* -- Servers -------------------------------------------------------------- */

/* The policy's rover of that name, or its only one. */
static int find(const rover_host_t *host, const char *name,
                struct rover__lua_object **out) {
  struct rover__lua_object *o =
      host->policy ? host->policy->lua->objects[ROVER__LUA_ROVERS] : NULL;
  size_t found = 0;

  for (; o; o = o->next) {
    if (o->closing || (name && strcmp(o->name, name) != 0)) continue;
    *out = o;
    found++;
  }
  if (found == 0) return UV_ENOENT;
  return found == 1 ? 0 : UV_EDESTADDRREQ;
}

/* By how it is steered. */
static const char *const says[] = {
    "server is no longer steered by hand", "server paused by hand",
    "server drained by hand", "server dropped by hand"};
static const char added[] = "server added by hand";

static void say(rover_host_t *host, const struct rover__lua_object *o,
                const char *id, const char *what) {
  host__log(host, ROVER_HOST_INFO, what,
            HOST__FIELDS(host__string("rover", o->name),
                         host__string("server", id)));
}

int rover_host_server_add(rover_host_t *host, const char *rover, const char *id,
                          const char *address, int port) {
  struct rover__lua_object *o = NULL;

  if (!host || !id || !address || host->closing) return UV_EINVAL;
  int err = find(host, rover, &o);
  if (err < 0) return err;
  err = rover_server_pin(o->rover, &(rover_server_entry_t){
                                       .id = id, .host = address, .port = port});
  if (err < 0) return err;
  say(host, o, id, added);
  return 0;
}

int rover_host_server_steer(rover_host_t *host, const char *rover,
                            const char *id, rover_steer_t how, uint64_t ms) {
  struct rover__lua_object *o = NULL;

  if (!host || !id || host->closing) return UV_EINVAL;
  int err = find(host, rover, &o);
  if (err < 0) return err;
  err = rover_server_steer(o->rover, id, how, ms);
  if (err <= 0 && err != UV_ESRCH) return err;
  rover__lua_object_settle(o);
  say(host, o, id, says[how]);
  return err;
}

/* -- The host ------------------------------------------------------------- */

/* The policy's next front behind `o`, or the first for NULL. */
static struct rover__lua_object *next_front(const rover_host_t *host,
                                            struct rover__lua_object *o) {
  if (o) o = o->next;
  else if (host->policy) o = host->policy->lua->objects[ROVER__LUA_FRONTS];
  while (o && o->closing) o = o->next;
  return o;
}

static uint64_t drain_left(const rover_host_t *host) {
  uint64_t now = now_ms();
  return host->drained_until > now ? host->drained_until - now : 0;
}

/* Drains the fronts that are not drained yet, or all. */
static void drain(rover_host_t *host, bool all) {
  struct rover__lua_object *o = NULL;
  uint64_t left = drain_left(host);

  while ((o = next_front(host, o)))
    if (all || !rover_front_is_draining(o->front))
      rover_front_drain(o->front, left);
}

void host__steer_follow(rover_host_t *host) {
  if (host->drained) drain(host, false);
}

int rover_host_drain(rover_host_t *host, uint64_t ms) {
  if (!host || host->closing || ms > ROVER_MS_MAX) return UV_EINVAL;
  if (!next_front(host, NULL)) return UV_ENOENT;
  host->drained = true;
  host->drained_until = now_ms() + ms;
  drain(host, true);
  host__log(host, ROVER_HOST_INFO, "host drained by hand",
            HOST__FIELDS(host__count("ms", ms)));
  return 0;
}

int rover_host_resume(rover_host_t *host) {
  if (!host || host->closing) return UV_EINVAL;
  struct rover__lua_object *o = NULL;
  if (!host->drained) return 0;
  host->drained = false;
  while ((o = next_front(host, o)))
    if (!rover__lua_front_drains(o)) rover_front_resume(o->front);
  host__log(host, ROVER_HOST_INFO, "host resumed by hand", NULL);
  return 1;
}

/* -- What was decided ------------------------------------------------------ */

struct telling {
  rover_host_t *host;
  const char *rover;
  rover_host_decision_cb cb;
  void *arg;
};

static void tell(const struct rover_decision *decision, void *arg) {
  const struct telling *telling = arg;

  telling->cb(telling->host,
              &(rover_host_decision_t){.rover = telling->rover,
                                       .id = decision->id,
                                       .address = decision->host,
                                       .port = decision->port,
                                       .added = decision->pinned,
                                       .how = decision->how,
                                       .ms = decision->ms},
              telling->arg);
}

int rover_host_decisions(rover_host_t *host, rover_host_decision_cb cb,
                         void *arg) {
  if (!host || !cb) return UV_EINVAL;
  struct telling telling = {.host = host, .cb = cb, .arg = arg};
  struct rover__lua_object *o =
      host->policy ? host->policy->lua->objects[ROVER__LUA_ROVERS] : NULL;

  for (; o; o = o->next) {
    telling.rover = o->name;
    if (!o->closing) rover_decisions_each(o->rover, tell, &telling);
  }
  if (host->drained)
    cb(host, &(rover_host_decision_t){.ms = drain_left(host)}, arg);
  return 0;
}

int rover_host_decide(rover_host_t *host, const rover_host_decision_t *d) {
  struct rover__lua_object *o = NULL;

  if (!host || !d || host->closing || !NET__IS_UNUSED(d->reserved) ||
      (unsigned)d->how > ROVER_STEER_DROP)
    return UV_EINVAL;
  if (!d->rover) return rover_host_drain(host, d->ms);
  if (!d->id || !d->address || (!d->added && !d->how)) return UV_EINVAL;
  int err = find(host, d->rover, &o);
  if (err < 0) return err;
  err = rover_decide(o->rover, &(struct rover_decision){.id = d->id,
                                                        .host = d->address,
                                                        .port = d->port,
                                                        .pinned = d->added,
                                                        .how = d->how,
                                                        .ms = d->ms});
  if (err < 0) return err;
  rover__lua_object_settle(o);
  say(host, o, d->id, d->how ? says[d->how] : added);
  return 0;
}
