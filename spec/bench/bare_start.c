/* What a host takes at least: it loads the same libraries, makes a Lua state with
 * Lua's own libraries, and compiles the policy, which never runs. Arguments, and
 * what it says, are those of client_policy.lua:
 *
 *   POLICY first PORT
 *     connects, says "connection" and the milliseconds of CPU time so far when a
 *     slot line has come, and ends.
 *   POLICY idle
 *     says "idle", and does nothing. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

static void die(const char *what) {
  fprintf(stderr, "bare_start: %s\n", what);
  exit(1);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char line[64];
  (void)handle;
  (void)size;
  *buf = uv_buf_init(line, sizeof line);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
  (void)buf;
  if (count <= 0) die("no slot line");
  printf("connection %.3f\n", (double)clock() / CLOCKS_PER_SEC * 1000);
  fflush(stdout);
  uv_close((uv_handle_t *)stream, NULL);
}

static void on_connect(uv_connect_t *request, int status) {
  if (status < 0) die(uv_strerror(status));
  uv_read_start(request->handle, on_alloc, on_read);
}

static void on_timer(uv_timer_t *timer) { (void)timer; }

static void first(uv_loop_t *loop, int port) {
  static uv_tcp_t tcp;
  static uv_connect_t request;
  struct sockaddr_in name;

  uv_ip4_addr("127.0.0.1", port, &name);
  uv_tcp_init(loop, &tcp);
  int err = uv_tcp_connect(&request, &tcp, (struct sockaddr *)&name, on_connect);
  if (err < 0) die(uv_strerror(err));
  uv_run(loop, UV_RUN_DEFAULT);
}

static void idle(uv_loop_t *loop) {
  static uv_timer_t timer;

  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, on_timer, 3600000, 3600000);
  puts("idle");
  fflush(stdout);
  uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  lua_State *L = luaL_newstate();

  if (argc < 3 || !L || uv_loop_init(&loop) < 0) die("cannot start");
  luaL_openlibs(L);
  if (luaL_loadfile(L, argv[1]) != LUA_OK) die(lua_tostring(L, -1));
  if (argc > 3 && !strcmp(argv[2], "first")) first(&loop, atoi(argv[3]));
  else idle(&loop);
  lua_close(L);
  return 0;
}
