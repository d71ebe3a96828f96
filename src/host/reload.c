#include "reload.h"

#include <stdlib.h>
#include <string.h>

#include "../lua/bind_books.h"
#include "../lua/handover.h"
#include "../lua/metrics.h"
#include "later.h"
#include "policy.h"
#include "record.h"
#include "say.h"
#include "sources.h"
#include "spare.h"

/* A reload goes through these states, one after the other:
 *   wanted    It has been requested; further requests are for the same one.
 *   loading   The new policy is made beside the old one, within one call. If
 *             that fails, the old one stays, and the reload is over.
 *   adopting  The new policy is the host's, and decides about the sockets, for
 *             a slice of time in each turn of the loop, so that others are
 *             served meanwhile. The old one only waits for its unload handlers.
 *   over      These have run, the old policy is closed, the result reported.
 *
 * Another may be wanted from loading on, and begins when this one is over. If
 * the host closes, both end as cancelled, after the old policy's unload
 * handlers if one was adopting. later.c calls host__reload_turn() in each turn
 * of the loop while there is something to do. */

/* A handler that is running is not interrupted. */
enum { SLICE_NS = 300000, FEW = 100 };

/* -- Reporting ------------------------------------------------------------ */

static void log_reloaded(rover_host_t *host,
                         const rover_host_reload_t *result) {
  host__log(host, ROVER_HOST_INFO, "policy reloaded",
            HOST__FIELDS(host__string("file", host->script->path),
                         host__string("trigger", result->trigger),
                         host__count("generation", result->generation),
                         host__ms("ms", result->ms),
                         host__count("adopted", result->adopted),
                         host__count("closed", result->closed)));
}

/* Calls the program's callback. */
static void report(rover_host_t *host, rover_host_reload_t *reload) {
  char *error = (char *)reload->error;

  if (reload->status == UV_EINVAL && !error)
    reload->error = "see the log: there is no memory to repeat here what it says";
  else if (reload->status < 0 && !error)
    reload->error = uv_strerror(reload->status);
  if (host->options.reload) host->options.reload(host, reload);
  free(error);
}

/* -- The states ----------------------------------------------------------- */

/* Returns 0 if there is a new policy; otherwise the reason has been
 * reported. */
static int load(rover_host_t *host) {
  struct host__policy *old = host->policy, *policy;

  int err = host__sources_set(host);
  if (err < 0) return host__load_failed(host, host->script->path, err, NULL);
  err = host__policy_open(&policy, host, host->script, old);
  if (err < 0) return err;
  err = host__policy_take_over(policy, old);
  if (err < 0) host__policy_close(policy);
  else host->reload.old = old;
  return err;
}

static void end_adopting(rover_host_t *host) {
  struct host__reload *reload = &host->reload;

  rover__lua_adopt_end(host->policy->lua, &reload->result.adopted,
                       &reload->result.closed);
  host__policy_unload(reload->old);
  rover__metrics_pass(reload->old->lua->metrics, true);
  rover__books_pass(reload->old->lua->metrics);
  host__policy_close(reload->old);
}

/* A turn of its own, unless there is little to adopt. Returns whether the reload is
 * over. */
static bool begin(rover_host_t *host) {
  int *status = &host->reload.result.status;

  host__spares_lend(host);
  *status = load(host);
  if (*status == 0)
    return host->policy->lua->adopted <= FEW &&
           rover__lua_adopt(host->policy->lua, SLICE_NS);
  host__spares_take(host);
  return true;
}

/* Returns whether it is over. */
static bool go_on(rover_host_t *host) {
  struct host__reload *reload = &host->reload;
  uint64_t from = uv_hrtime();

  bool over = reload->old ? rover__lua_adopt(host->policy->lua, SLICE_NS)
                          : begin(host);
  if (over && reload->old) end_adopting(host);
  reload->held += uv_hrtime() - from;
  return over;
}

static void end(rover_host_t *host) {
  struct host__reload over = host->reload;
  rover_host_reload_t *result = &over.result;

  host->reloading = false;
  result->trigger = over.trigger;
  result->generation = host->stats.generation;
  result->ms = (double)over.held / 1e6;
  if (result->status != UV_ECANCELED)
    host__record_reload(&host->record, result->generation, result->status == 0);
  host->reload_failed = result->status < 0 && result->status != UV_ECANCELED;
  if (result->status == 0) log_reloaded(host, result);
  else if (result->status != UV_ECANCELED) host->stats.failed_reloads++;
  report(host, result);
}

void host__reload_turn(rover_host_t *host) {
  if (!host->reloading) {
    host->reload_wanted = false;
    host->reload = (struct host__reload){0};
    memcpy(host->reload.trigger, host->trigger, sizeof host->trigger);
    /* If there is no policy, the first load failed, which is not repeated. */
    host->reloading = host->policy != NULL;
    if (host->reloading && host->options.reloading)
      host->options.reloading(host, host->reload.trigger);
  }
  if (host->reloading && go_on(host)) end(host);
}

int rover_host_reload(rover_host_t *host, const char *trigger) {
  if (host->closing || !host->policy || !trigger) return UV_EINVAL;
  host__reload_soon(host, trigger);
  return 0;
}

void host__reload_cancel(rover_host_t *host) {
  if (host->reloading) {
    host->reload.result.status = UV_ECANCELED;
    end_adopting(host);
    end(host);
  }
  if (!host->reload_wanted) return;
  host->reload_wanted = false;
  if (host->policy)
    report(host, &(rover_host_reload_t){.status = UV_ECANCELED,
                                      .trigger = host->trigger,
                                      .generation = host->stats.generation});
}
