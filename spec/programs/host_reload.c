/* The promises of <callosum/host.h> about reloading. */
#include "hosts.h"

static struct told told;
static rover_host_t *host;

static void open_host(void) { host = hosting(&told, NULL); }

static void forget(void) { memset(&told, 0, sizeof told); }

static void reload_succeeds(void) {
  open_host();
  EQUAL(0, load(host, ROVER "r:on('connection', function(slot)\n"
                "host.log.info 'kept' end)\n"
                "for _ = 1, 3 do r:connect() end"));
  UNTIL(count(&told, "log info kept") == 3);
  forget();
  EQUAL(0, reload(host, ROVER "r:on('connection', function(slot, socket)\n"
                       "if slot > 0 then socket:close() end end)"));
  SAME("test", told.trigger);
  EQUAL(0, told.reload.status);
  EQUAL(3, told.reload.adopted);
  EQUAL(2, told.reload.closed);
  EQUAL(stats_of(host).generation, told.reload.generation);
  CHECK(told.reload.ms > 0 && told.reload.ms < 10000);
  /* After its log line. */
  const char *line = strstr(told.lines, "log info policy reloaded");
  CHECK(line && strstr(line, "adopted=3 closed=2\nreload 0 test\n"));
  EQUAL(0, stats_of(host).failed_reloads);
  finish(host);
}

static int l_generation(lua_State *L) {
  lua_getglobal(L, "host");
  lua_getfield(L, -1, "generation");
  note(&told, "generation %d of %d", (int)lua_tointeger(L, -1),
       (int)stats_of(host).generation);
  return 0;
}

static void reload_counts(void) {
#define GENERATION                                                             \
  "_G.host = host r:on('connection', call) host.on('unload', call)"
  open_host();
  called = l_generation;
  EQUAL(0, load(host, ROVER GENERATION " r:connect()"));
  UNTIL(count(&told, "generation") == 1);
  EQUAL(0, reload(host, ROVER GENERATION));
  CHECK(strstr(told.lines, "generation 1 of 1\n"));
  CHECK(strstr(told.lines, "generation 2 of 2\ngeneration 1 of 2\n"));
  called = NULL;
  finish(host);
}

static void reload_fails(void) {
  static const struct {
    const char *script, *error;
    int status;
  } wrong[] = {
      {NULL, "cannot open ", UV_EINVAL},
      {"= 1", "policy.lua:1: unexpected symbol near '='", UV_EINVAL},
      {"\nerror 'oops'", "policy.lua:2: oops", UV_EINVAL},
      {"rover.new():close()", "declares no rover", UV_EINVAL},
      {"while true do end", "the loading budget of 300 ms is over", UV_EINVAL},
      {"x = ('x'):rep(1 << 24)", "not enough memory", UV_ENOMEM},
  };
  rover_host_options_t options = telling(&told);
  options.memory = 4 << 20;
  options.load_budget = 300;
  host = hosting(&told, &options);
  EQUAL(0, load(host, "rover.new() old = call"));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "script %zu", i);
    forget();
    if (!wrong[i].script) CHECK(unlink(policy("")) == 0);
    EQUAL(wrong[i].status, reload(host, wrong[i].script));
    CHECK(strstr(told.reload_error, wrong[i].error));
    SAME(told.error, told.reload_error);
    EQUAL(1, told.errors);
    SAME("test", told.trigger);
    EQUAL(1, told.reload.generation);
    EQUAL(0, told.reload.adopted + told.reload.closed);
    CHECK(told.reload.ms > 0);
    EQUAL(1, stats_of(host).generation);
    EQUAL(i + 1, stats_of(host).failed_reloads);
    const char *line = strstr(told.lines, "log error reload failed, the old "
                                          "policy goes on file=");
    CHECK(line && strstr(line, "\nreload ") > line);
    EQUAL(1, count(&told, "log"));
  }
  forget();
  EQUAL(0, reload(host, "assert(not old) rover.new()"));
  EQUAL(2, told.reload.generation);
  finish(host);
}

static void reload_once(void) {
  open_host();
  EQUAL(0, load(host, ROVER));
  EQUAL(0, rover_host_reload(host, "1234567890123456789012345678901234567890"));
  EQUAL(0, rover_host_reload(host, "later"));
  EQUAL(0, rover_host_reload(host, ""));
  EQUAL(0, told.reloads);
  UNTIL(told.reloads);
  SAME("1234567890123456789012345678901", told.trigger);
  settle();
  EQUAL(1, told.reloads);
  EQUAL(0, rover_host_reload(host, ""));
  UNTIL(told.reloads == 2);
  SAME("", told.trigger);
  finish(host);
}

static void reload_triggers(void) {
  rover_host_options_t options = telling(&told);
  options.watch = 1;
  host = hosting(&told, &options);
  EQUAL(0, load(host, ROVER "r:on('connection', function(_, socket)\n"
                "if not socket.adopted then host.reload() end end)\n"
                "if host.generation == 1 then r:connect() end"));
  UNTIL(told.reloads);
  SAME("host.reload()", told.trigger);
  EQUAL(2, stats_of(host).generation);
  policy("rover.new()\n-- longer");
  UNTIL(!strcmp("watch", told.trigger));
  EQUAL(0, told.reload.status);
  finish(host);
}

static void ask_again(rover_host_t *of, const rover_host_reload_t *result) {
  on_reload(of, result);
  EQUAL(UV_EALREADY, rover_host_load(of, "x", 0, NULL));
  if (told.reloads < 3) EQUAL(0, rover_host_reload(of, "again"));
}

static void reload_again(void) {
  rover_host_options_t options = telling(&told);
  options.reload = ask_again;
  host = hosting(&told, &options);
  EQUAL(0, load(host, ROVER));
  EQUAL(0, rover_host_reload(host, "first"));
  UNTIL(told.reloads == 3);
  settle();
  EQUAL(3, told.reloads);
  SAME("again", told.trigger);
  finish(host);
}

static void reload_cancelled(void) {
  open_host();
  EQUAL(0, load(host, ROVER "host.on('unload', function() call() end)"));
  EQUAL(0, rover_host_reload(host, "late"));
  EQUAL(0, rover_host_close(host, on_host_closed));
  EQUAL(UV_EINVAL, rover_host_reload(host, "later"));
  EQUAL(0, told.reloads);
  UNTIL(told.closes);
  EQUAL(1, told.reloads);
  EQUAL(UV_ECANCELED, told.reload.status);
  SAME("late", told.trigger);
  EQUAL(1, told.reload.generation);
  CHECK(*told.reload_error);
  EQUAL(1, told.opens);
  CHECK(strstr(told.lines, "reload") < strstr(told.lines, "closed"));
}

static int close_host(lua_State *L) {
  (void)L;
  if (told.opens > 1) EQUAL(0, rover_host_close(host, on_host_closed));
  return 0;
}

static void reload_closed(void) {
  open_host();
  called = close_host;
  EQUAL(0, load(host, "call() rover.new()"));
  EQUAL(0, rover_host_reload(host, "test"));
  UNTIL(told.closes);
  EQUAL(1, told.reloads);
  EQUAL(0, told.reload.status);
  EQUAL(2, told.reload.generation);
}

static int begun;

static void on_reloading(rover_host_t *of, const char *trigger) {
  SAME("test", trigger);
  EQUAL(begun, told.reloads);
  EQUAL(1 + begun, stats_of(of).generation);
  begun++;
  if (begun == 3) EQUAL(0, rover_host_close(of, on_host_closed));
}

static void reload_begins(void) {
  rover_host_options_t options = telling(&told);
  options.reloading = on_reloading;
  begun = 0;
  host = hosting(&told, &options);
  EQUAL(0, load(host, ROVER));
  EQUAL(0, begun);
  EQUAL(0, reload(host, ROVER));
  EQUAL(0, reload(host, ROVER));
  EQUAL(2, begun);
  EQUAL(0, rover_host_reload(host, "test"));
  UNTIL(told.closes);
  EQUAL(3, begun);
  EQUAL(3, told.reloads);
}

const struct check checks[] = {
    {"the reload callback", "tells generation, trigger and sockets, after the "
                            "log line", reload_succeeds},
    {"a reload", "is of the next generation once the new policy is asked",
     reload_counts},
    {"the reload callback", "tells what failed; the old policy goes on",
     reload_fails},
    {"the reload callback", "comes once, however often it was asked for",
     reload_once},
    {"the reload callback", "names the policy and the watch as triggers",
     reload_triggers},
    {"the reload callback", "may ask for another", reload_again},
    {"the reload callback", "tells UV_ECANCELED if the host closes first",
     reload_cancelled},
    {"the reload callback", "comes if the script closes the host",
     reload_closed},
    {"the reloading callback", "comes before the policy is loaded, and may "
                               "close the host", reload_begins},
    {NULL, NULL, NULL}};
