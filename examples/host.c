/* Runs a policy, provides it with a module, and obeys keys: a digit sets how
 * many sockets the policy keeps, r reloads the policy, q shuts down in order.
 *
 *   cc -o build/host examples/host.c \
 *     $(pkg-config --cflags --libs callosum-host)
 *   callosum-rover serve 4040 4041 -- \
 *     build/host examples/host_policy.lua 4040 4041
 */
#include <callosum/host.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* program.report(name, number) */
static int l_report(lua_State *L) {
  printf("%s: %g\n", luaL_checkstring(L, 1), luaL_checknumber(L, 2));
  return 0;
}

static const char limit_key; /* its address is fn's key in the registry */

/* program.onLimit(fn): fn(limit) is called when the limit changes. */
static int l_on_limit(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &limit_key);
  return 0;
}

static void on_open(rover_host_t *host, lua_State *L) {
  static const luaL_Reg functions[] = {
      {"report", l_report}, {"onLimit", l_on_limit}, {NULL, NULL}};
  (void)host;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "program"); /* what require "program" returns */
}

static void set_limit(rover_host_t *host, int limit) {
  lua_State *L = rover_host_state(host);
  if (!L) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &limit_key);
  lua_pushinteger(L, limit);
  rover_host_call(host, L, 1, 0); /* on_error() reports failure */
}

static void on_error(rover_host_t *host, const char *error,
                     const char *traceback) {
  (void)host, (void)traceback;
  fprintf(stderr, "policy: %s\n", error);
}

static void on_reload(rover_host_t *host, const rover_host_reload_t *reload) {
  (void)host;
  if (reload->status == 0)
    printf("reloaded: %zu of %zu sockets stay\n",
           reload->adopted - reload->closed, reload->adopted);
  else printf("not reloaded: %s\n", reload->error);
}

static void on_input(uv_poll_t *input, int status, int events) {
  rover_host_t *host = input->data;
  char key = 'q';
  (void)events;

  if (status == 0 && read(0, &key, 1) < 0) return; /* EOF counts as q */
  if (key >= '0' && key <= '9') set_limit(host, key - '0');
  else if (key == 'r') rover_host_reload(host, "key");
  else if (key == 'q') {
    rover_host_close(host, NULL);
    uv_close((uv_handle_t *)input, NULL);
  }
}

int main(int argc, char *argv[]) {
  rover_host_options_t options = {
      .open = on_open, .error = on_error, .reload = on_reload};
  uv_loop_t *loop = uv_default_loop();
  uv_poll_t input;
  rover_host_t *host;

  signal(SIGPIPE, SIG_IGN);
  setvbuf(stdout, NULL, _IOLBF, 0);
  int err = rover_host_new(&host, loop, &options);
  if (err == 0) err = rover_host_load(host, argv[1], argc - 2, argv + 2);
  if (err == 0) err = uv_poll_init(loop, &input, 0);
  input.data = host;
  if (err == 0) err = uv_poll_start(&input, UV_READABLE, on_input);
  if (err == 0) err = uv_run(loop, UV_RUN_DEFAULT);
  if (err == 0) err = uv_loop_close(loop);
  if (err < 0) fprintf(stderr, "%s: %s\n", argv[0], uv_strerror(err));
  return err < 0;
}
