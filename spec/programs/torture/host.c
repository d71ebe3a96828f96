#include "torture.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <utime.h>

enum { ROVERS = 3, KEPT = 2 };

static struct {
  rover_host_t *host;
  lua_State *L; /* of the policy that was loaded last */
  bool broken; /* what is loaded now is to fail */
  bool told; /* that something failed */
  bool polling; /* the watch cannot watch, and has said so when that began */
  bool done; /* the talk, say */
  bool retried; /* what had failed; the talk goes on */
  bool closed;
  bool reloaded;
  int status; /* of the reload */
  size_t declared;
  rover_stats_t keeper, talker, prober;
} it;

static bool is_closed(void) { return it.closed; }
static bool is_reloaded(void) { return it.reloaded; }

/* -- What the host has to say --------------------------------------------- */

static int l_report(lua_State *L) {
  const char *word = lua_tostring(L, 1);
  CHECK(word);
  if (!strcmp(word, "done")) it.done = true;
  else if (!strcmp(word, "retried")) it.retried = true;
  else if (!strcmp(word, "ENOMEM")) it.told = true;
  else CHECK(!strcmp(word, "lost")); /* the log tells of it */
  return 0;
}

static void on_open(rover_host_t *host, lua_State *L) {
  (void)host;
  it.L = L;
  lua_pushcfunction(L, l_report);
  lua_setglobal(L, "report");
  lua_pushboolean(L, it.broken);
  lua_setglobal(L, "broken");
}

static void on_log(rover_host_t *host, const rover_host_log_t *log) {
  const char *message = log->message.bytes;
  (void)host;
  if (!strcmp(message, "watching for changes again")) it.polling = false;
  bool blind = strstr(message, "cannot watch") != NULL;
  if (blind) it.polling = true;
  if (blind || log->level == ROVER_HOST_ERROR) it.told = true;
  /* It is this process that is out of memory, not the policy. */
  for (size_t i = 0; i < log->field_count; i++)
    CHECK(!strstr(log->fields[i].value.bytes, "the policy may have"));
}

static void on_script_error(rover_host_t *host, const char *error,
                            const char *traceback) {
  (void)host;
  (void)traceback;
  CHECK(memory_has_failed() || it.broken);
  CHECK(strstr(error, "not enough memory") || it.broken);
  it.told = true;
}

static void on_reload(rover_host_t *host, const rover_host_reload_t *result) {
  (void)host;
  CHECK((result->status < 0) == (result->error != NULL));
  it.status = result->status;
  if (result->status == UV_EINVAL)
    CHECK(strstr(result->error, "broken") || strstr(result->error, "the log"));
  it.reloaded = true;
}

static void on_closed(rover_host_t *host) {
  (void)host;
  it.closed = true;
}

/* -- What becomes of its rovers ------------------------------------------- */

static void on_rover(rover_host_t *host, const rover_host_rover_t *r,
                     void *arg) {
  rover_stats_t s;
  (void)host;
  (void)arg;
  rover_stats_get(r->rover, &s);
  CHECK(s.attempts == s.connections + s.rejected + s.unreachable + s.errors +
                          s.cancelled + s.in_flight);
  CHECK(s.connections == s.kept + s.closed);
  CHECK(s.unreachable == 0);
  it.declared++;
  if (!strcmp(r->name, "keeper")) it.keeper = s;
  if (!strcmp(r->name, "talker")) it.talker = s;
  if (!strcmp(r->name, "prober")) it.prober = s;
}

static const rover_host_visitor_t visitor = {.rover = on_rover};

static void look(void) {
  it.declared = 0;
  rover_host_each(it.host, &visitor, NULL);
  CHECK(it.declared == ROVERS);
}

/* Has all that it is to have, and nothing is under way. */
static bool is_full(void) {
  look();
  return it.keeper.kept == KEPT && it.keeper.in_flight == 0 &&
         it.prober.in_flight == 0;
}

static bool is_quiet(void) {
  look();
  return it.talker.kept == 0 && it.talker.in_flight == 0;
}

static void call(const char *function) {
  CHECK(lua_getglobal(it.L, function) == LUA_TFUNCTION);
  int err = rover_host_call(it.host, it.L, 0, 0);
  CHECK(err == 0 || (err == UV_ENOMEM && memory_has_failed() && it.told));
}

/* Nothing fails in silence; what Lua was refused, it may have got in the end. */
static void check_told(void) {
  CHECK(it.told || it.retried || it.polling ||
        !memory_has_failed_outside_lua());
}

static void refill(void) {
  call("refill");
  loop_until(is_full);
}

/* -- Its life ------------------------------------------------------------- */

static int new_host(void) {
  static const rover_host_options_t options = {.watch = 1,
                                               .open = on_open,
                                               .log = on_log,
                                               .error = on_script_error,
                                               .reload = on_reload};
  it.host = NULL;
  it.told = it.retried = it.polling = it.closed = it.broken = false;
  int err = rover_host_new(&it.host, &loop, &options);
  CHECK(err == 0 || (err == UV_ENOMEM && memory_has_failed() && !it.host));
  return err;
}

static char *const *arguments(void) {
  static char port[8];
  static char *argv[] = {port, "unused"};
  snprintf(port, sizeof port, "%d", peers.port);
  return argv;
}

static const char *path_of(const char *policy) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", torture_folder, policy);
  return path;
}

static int load_policy(const char *policy) {
  return rover_host_load(it.host, path_of(policy), 2, arguments());
}

static int load(void) {
  int err = load_policy("policy.lua");
  CHECK(err == 0 || (err == UV_ENOMEM && memory_has_failed() && it.told));
  return err;
}

static void set_up(void) {
  CHECK(new_host() == 0);
  CHECK(load() == 0);
  loop_until(is_full);
}

static void tear_down(void) {
  CHECK(rover_host_close(it.host, on_closed) == 0);
  loop_until(is_closed);
}


/* -- Scenarios ------------------------------------------------------------ */

static void loading(void) {
  torture_begin();
  int err = new_host();
  if (err == 0) err = load();
  bool failed = torture_end();

  CHECK(err == 0 || failed);
  if (it.host) {
    if (err < 0) CHECK(load() == 0);
    refill();
    check_told();
    tear_down();
  }
}

static void checking(void) {
  it.declared = 0;
  torture_begin();
  int err = rover_host_check(it.host, path_of("policy.lua"), 2, arguments(),
                             &visitor, NULL);
  bool failed = torture_end();
  CHECK(err == 0 || (err == UV_ENOMEM && failed && it.told));
  CHECK(it.declared == (err == 0 ? ROVERS : 0));
  it.told = false;
  CHECK(is_full());
}

static bool is_done_or_told(void) { return it.done || it.told; }

/* In a host of its own each time: what a rover has for reading, it keeps. */
static void talking(void) {
  set_up();
  it.done = false;
  torture_begin();
  call("talk");
  loop_until(is_done_or_told);
  bool failed = torture_end();
  CHECK(it.done || failed);
  CHECK(!it.told || failed);
  check_told();
  call("hush");
  loop_until(is_quiet);
  refill();
  tear_down();
}

static bool is_done(void) { return it.done; }

static void set_up_listener(void) {
  CHECK(new_host() == 0);
  it.done = false;
  CHECK(load_policy("listener.lua") == 0);
  loop_until(is_done);
}

static void on_listener(rover_host_t *host, const rover_host_rover_t *r,
                        void *arg) {
  rover_stats_t s;
  (void)host;
  rover_stats_get(r->rover, &s);
  *(uint64_t *)arg = s.kept;
}

static bool is_done_or_gone(void) {
  uint64_t kept;
  static const rover_host_visitor_t listener = {.rover = on_listener};
  rover_host_each(it.host, &listener, &kept);
  return it.done || kept == 0;
}

static void hearing(void) {
  it.done = it.told = false;
  call("send");
  torture_begin();
  loop_until(is_done_or_gone);
  bool failed = torture_end();
  if (it.done) return;
  CHECK(failed && it.told);
  call("listen");
  loop_until(is_done);
}

static void reload(void) {
  rover_host_stats_t before, after;
  lua_State *old = it.L;
  it.told = it.reloaded = false;
  rover_host_stats_get(it.host, &before);
  look();
  uint64_t closed = it.keeper.closed;

  torture_begin();
  CHECK(rover_host_reload(it.host, "test") == 0);
  loop_until(is_reloaded);
  bool failed = torture_end();

  rover_host_stats_get(it.host, &after);
  CHECK(it.status == 0 ||
        (it.status == (it.broken ? UV_EINVAL : UV_ENOMEM) && it.told) ||
        (it.status == UV_ENOMEM && failed && it.told));
  CHECK(after.generation == before.generation + (it.status == 0));
  CHECK(after.failed_reloads == before.failed_reloads + (it.status < 0));
  if (it.status < 0) it.L = old;
  look();
  /* A socket may go if its handler has failed. */
  if (it.status < 0 || !it.told)
    CHECK(it.keeper.kept == KEPT && it.keeper.closed == closed);
  refill();
  check_told();
}

static void reloading(void) {
  it.broken = false;
  reload();
  CHECK(it.status == 0 || it.told);
}

static void reloading_broken(void) {
  it.broken = true;
  reload();
  CHECK(it.status < 0);
}

/* A reload that fails leaves what is watched as it was. Only what comes before
 * the script is read has to do with that. */
static void watching(void) {
  it.broken = false;
  reload();
  if (it.status == 0) return;
  it.reloaded = false;
  CHECK(utime(path_of("policy.lua"), NULL) == 0);
  loop_until(is_reloaded);
  CHECK(it.status == 0);
  refill();
}

static void shrinking(void) {
  CHECK(new_host() == 0);
  CHECK(load_policy("shrink.lua") == 0);
  lua_settop(it.L, 0);
  CHECK(lua_getglobal(it.L, "shrink") == LUA_TFUNCTION);
  CHECK(rover_host_call(it.host, it.L, 0, 1) == 0);
  memory_refuse_chunks(true);
  CHECK(rover_host_call(it.host, it.L, 0, 0) == 0);
  memory_refuse_chunks(false);
  tear_down();
}

/* libuv ends the process where it cannot make a loop, as luv wants one. */
static void loading_luv(void) {
  it.done = false;
  memory_spare_others(true);
  torture_begin();
  int err = new_host();
  if (err == 0) err = load_policy("luv.lua");
  bool failed = torture_end();

  CHECK(err == 0 || failed);
  if (it.host) {
    if (err < 0) CHECK(load_policy("luv.lua") == 0);
    loop_until(is_done);
    tear_down();
  }
  memory_spare_others(false);
}

static void closing(void) {
  set_up();
  torture_begin();
  tear_down();
  torture_end();
}

const struct scenario host_scenarios[] = {
    {"a policy is loaded, or can be later", loading, NULL, NULL, 0},
    {"a policy that is checked changes nothing", checking, set_up, tear_down,
     0},
    {"a policy's connection is made, read, written to and shut down, or it is "
     "said why not", talking, NULL, NULL, 0},
    {"a policy hears each byte, or that the socket closes for it", hearing,
     set_up_listener, tear_down, 0},
    {"a reload is made, or the old policy goes on with its sockets", reloading,
     set_up, tear_down, 0},
    {"after the reload of a broken policy the old one goes on", reloading_broken,
     set_up, tear_down, 0},
    {"after a reload that failed the script is still watched", watching, set_up,
     tear_down, 2},
    {"a host is closed", closing, NULL, NULL, 0},
    {"Lua's blocks go with its state, whichever could not shrink", shrinking,
     NULL, NULL, 0},
    {"a policy with luv is loaded, or can be later", loading_luv, NULL, NULL,
     0},
    {0}};
