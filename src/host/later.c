#include "later.h"

#include <stddef.h>
#include <stdio.h>

#include "say.h"

/* A request to reload, stop or close may come from the policy's code, which
 * continues until it returns to the loop. So each is carried out from the loop:
 * reloads by an idle handle, which also keeps the loop from blocking, the
 * others by a timer. A host is closed once its handles, rovers, relays and
 * fronts are, and then the turn that these shared. */

/* -- The end -------------------------------------------------------------- */

static void close_if_done(rover_host_t *host);

static void on_turn_closed(void *host) { close_if_done(host); }

static void close_if_done(rover_host_t *host) {
  if (!host->closing || host->handles > 0) return;
  for (int list = 0; list < ROVER__LUA_KINDS; list++)
    if (host->rovers.objects[list]) return;
  if (host->rovers.turn) {
    rover_turn_close(host->rovers.turn, on_turn_closed, host);
    host->rovers.turn = NULL;
    return;
  }
  host->closed(host);
}

void host__unref(rover_host_t *host) {
  host->handles--;
  close_if_done(host);
}

static void on_rover_closed(struct rover__lua_owner *owner) {
  char *host = (char *)owner - offsetof(rover_host_t, rovers);
  close_if_done((rover_host_t *)host);
}

static void on_handle_closed(uv_handle_t *handle) { host__unref(handle->data); }

void host__later_close(rover_host_t *host) {
  uv_close((uv_handle_t *)&host->stopper, on_handle_closed);
  uv_close((uv_handle_t *)&host->reloader, on_handle_closed);
}

/* -- Until then ----------------------------------------------------------- */

void host__later_open(rover_host_t *host, void (*turn)(rover_host_t *host),
                      void (*closed)(rover_host_t *host)) {
  host->reload_turn = turn;
  host->closed = closed;
  host->rovers.closed = on_rover_closed;
  uv_timer_init(host->loop, &host->stopper);
  uv_idle_init(host->loop, &host->reloader);
  host->stopper.data = host->reloader.data = host;
  host->handles += 2;
}

static void on_turn(uv_idle_t *reloader) {
  rover_host_t *host = reloader->data;

  if (host->closing) return; /* see host__reload_cancel() */
  if (host->reloading || !*host->hold) host->reload_turn(host);
  if (!host->reloading && (!host->reload_wanted || *host->hold))
    uv_idle_stop(reloader);
}

void host__reload_soon(rover_host_t *host, const char *trigger) {
  if (host->closing) return;
  if (*host->hold)
    host__log(host, ROVER_HOST_INFO, "reload held back",
              HOST__FIELDS(host__string("reason", host->hold),
                           host__string("trigger", trigger)));
  if (host->reload_wanted) return;
  host->reload_wanted = true;
  snprintf(host->trigger, sizeof host->trigger, "%s", trigger);
  if (!*host->hold) uv_idle_start(&host->reloader, on_turn);
}

void rover_host_hold_reloads(rover_host_t *host, const char *why) {
  snprintf(host->hold, sizeof host->hold, "%s", why ? why : "");
  if (!why && host->reload_wanted && !host->closing)
    uv_idle_start(&host->reloader, on_turn);
}

static void on_stop(uv_timer_t *stopper) {
  rover_host_t *host = stopper->data;
  if (host->options.stop) host->options.stop(host, host->stop_status);
}

void host__stop_soon(rover_host_t *host, int status) {
  if (host->closing) return;
  host->stop_status = status;
  uv_timer_start(&host->stopper, on_stop, 0, 0);
}

void host__close_soon(rover_host_t *host, uv_timer_cb begin) {
  uv_timer_start(&host->stopper, begin, 0, 0);
}
