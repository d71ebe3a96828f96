#include "admin.h"

#include <string.h>

#include "../admin/admin.h"
#include "items.h"

/* There is one host in the process, and at most one admin. */
static struct admin *admin;

/* -- What may be asked for ------------------------------------------------- */

_Noreturn static void fail(const char *address, const char *what) {
  char message[200];

  snprintf(message, sizeof message, "--admin %s, not", what);
  cli_options_fail(message, address);
}

/* Returns whether it is a port that only this machine can reach. */
static bool check(const struct cli_options *options, const char *address) {
  bool is_path = false, is_local = false;

  const char *wrong = admin_address_check(address, &is_path, &is_local);
  if (wrong) fail(address, wrong);
  if (!is_local && !options->admin_expose)
    fail(address, "wants an address that only this machine can reach, unless "
                  "--admin-expose is given");
  return is_local && !is_path;
}

/* A port is not compared, as tunnels have others. */
static void check_host(const char *name) {
  if (name[strcspn(name, ":/[]@ \t")])
    cli_options_fail("--admin-host wants a name, without a port, not", name);
}

void cli_admin_check(const struct cli_options *options) {
  const char *const *each = options->admin;
  bool controls = false;

  if (!*each && (options->admin_control || options->admin_expose ||
                 *options->admin_hosts))
    cli_options_fail("--admin-control, --admin-expose and --admin-host want "
                     "--admin beside them",
                     NULL);
  for (const char *const *name = options->admin_hosts; *name; name++)
    check_host(*name);
  for (; *each; each++) controls = check(options, *each) || controls;
  if (options->admin_control && !controls)
    cli_options_fail("--admin-control wants an --admin with a port that only "
                     "this machine can reach: others never control",
                     NULL);
}

/* -- Life ------------------------------------------------------------------ */

static void on_log(void *data, rover_host_level_t level, const char *message,
                   const char *key, const char *value) {
  rover_host_field_t field = {{key, key ? strlen(key) : 0},
                              {value, value ? strlen(value) : 0},
                              ROVER_HOST_STRING};

  cli_log_event(data,
                &(rover_host_log_t){
                    level, {message, strlen(message)}, &field, key != NULL});
}

static bool on_set_level(void *data, const char *name) {
  int level;

  if (!cli_item_level(name, &level)) return false;
  cli_log_set_level(data, level);
  return true;
}

static void on_closed(void *data) {
  (void)data;
  admin = NULL;
}

int cli_admin_open(rover_host_t *host, const struct cli_options *options,
                   struct cli_log *log, int (*passed)(size_t index)) {
  struct admin_options o = {.host = host,
                            .mode = options->admin_mode,
                            .control = options->admin_control,
                            .server_limit = options->admin_server_series,
                            .hosts = options->admin_hosts,
                            .log = on_log,
                            .set_level = on_set_level,
                            .closed = on_closed,
                            .data = log};
  int err = 0;

  if (!*options->admin) return 0;
  err = admin_new(&admin, &o);
  for (size_t i = 0; err == 0 && options->admin[i]; i++)
    err = admin_listen(admin, options->admin[i], passed(i));
  return err;
}

void cli_admin_reloading(void) {
  if (admin) admin_reloading(admin);
}

void cli_admin_error(const char *traceback) {
  if (admin) admin_error(admin, traceback);
}

void cli_admin_reloaded(const rover_host_reload_t *result) {
  if (admin) admin_reloaded(admin, result);
}

void cli_admin_hold(const char *why) {
  if (admin) admin_hold(admin, why);
}

int cli_admin_fd(size_t index) {
  return admin ? admin_fd(admin, index) : UV_EBADF;
}

int cli_admin_leave(size_t index) {
  return admin ? admin_leave(admin, index) : UV_EBADF;
}

int cli_admin_stay(size_t index, bool owns_file) {
  return admin ? admin_stay(admin, index, owns_file) : UV_EBADF;
}

void cli_admin_finish(void) {
  if (admin) admin_finish(admin);
}

void cli_admin_close(void) {
  if (admin) admin_close(admin);
}
