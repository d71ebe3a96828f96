-- Programs that the rover or its host is part of, compiled as their users would,
-- against an installation.

local support = require "support"

local installed = support.installed

-- Tells of each step whether there is a state, and whether it is the one that
-- `open` was given first, or last.
local STATES = [[
#include <callosum/host.h>
#include <stdio.h>

static struct lua_State *first, *last;

static void on_open(rover_host_t *host, struct lua_State *L) {
  (void)host;
  if (!first) first = L;
  last = L;
}

static void say(const char *when, const rover_host_t *host) {
  struct lua_State *L = rover_host_state(host);
  printf("%s:%s%s%s\n", when, L ? "" : " none", L && L == first ? " first" : "",
         L && L == last ? " last" : "");
}

static void write_policy(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  fputs(text, file);
  fclose(file);
}

static void on_closed(rover_host_t *host) { say("closed", host); }

static void on_reload(rover_host_t *host, const rover_host_reload_t *reload) {
  say(reload->status < 0 ? "not reloaded" : "reloaded", host);
  if (reload->status < 0) {
    write_policy(rover_host_data(host), "");
    rover_host_reload(host, "test");
  } else {
    rover_host_close(host, on_closed);
  }
}

int main(int argc, char *argv[]) {
  rover_host_options_t options = {.open = on_open, .reload = on_reload,
                                  .rover_optional = 1, .data = argv[argc - 1]};
  rover_host_t *host;
  if (rover_host_new(&host, uv_default_loop(), &options) < 0) return 1;
  say("new", host);
  rover_host_load(host, "/none", 0, NULL);
  say("not loaded", host);
  first = NULL;
  write_policy(argv[1], "");
  rover_host_load(host, argv[1], 0, NULL);
  say("loaded", host);
  write_policy(argv[1], "error 'no'");
  rover_host_reload(host, "test");
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return 0;
}
]]

describe("rover_host_state", function()
  it("gives the state of the policy that is loaded", function()
    local program = installed.compile(STATES,
      { packages = { "callosum-host" } })
    assert.equal([[
new: none
not loaded: none
loaded: first last
not reloaded: first
reloaded: last
closed: none
]], installed.run(program, { support.tmpdir() .. "/policy.lua" }))
  end)
end)
