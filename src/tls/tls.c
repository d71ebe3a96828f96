#include <callosum/tls.h>

#include <stdlib.h>

#include <uv.h>

#include "connection.h"
#include "context.h"
#include "functions.h"
#include "socket.h"

/* The public functions. A context is made of options, whose files are read again
 * by a reload, and is freed when neither its owners nor a connection need it. */

static void free_context(struct net__tls_context *context) {
  tls__context_free((rover_tls_t *)context);
}

static void follow(struct net__tls_context *context,
                   struct net__tls_context *other) {
  tls__context_follow((rover_tls_t *)context, (rover_tls_t *)other);
}

static bool is_same(const struct net__tls_context *context,
                    const struct net__tls_context *other) {
  return tls__context_is_same((const rover_tls_t *)context,
                              (const rover_tls_t *)other);
}

static const struct net__tls_context_type type = {
    .open = tls__connection_open, .follow = follow, .is_same = is_same,
    .free = free_context};

/* `options` become its own, whatever `err` says about them. */
static int make(rover_tls_t **tls, struct tls__options *options, int err,
                struct tls__text *why) {
  rover_tls_t *made = err == 0 ? calloc(1, sizeof *made) : NULL;
  if (!made) {
    tls__options_free(options);
    if (err == 0) tls__text_add(why, "not enough memory");
    return err < 0 ? err : UV_ENOMEM;
  }
  made->options = *options;
  made->base = (struct net__tls_context){
      .type = &type,
      .refs = 1,
      .is_server = options->is_server,
      .demands =
          options->is_server && options->verify == ROVER_TLS_VERIFY_REQUIRE};
  tls__sessions_init(&made->sessions);
  made->socket = tls__socket_type();
  if (made->socket) err = tls__context_load(made, tls__connection_prepare, why);
  else err = UV_ENOMEM;
  if (err == 0) *tls = made;
  else tls__context_free(made);
  return err;
}

static int refuse(struct tls__text *why) {
  tls__text_add(why, "tls has no options");
  return UV_EINVAL;
}

int rover_tls_client_new(rover_tls_t **tls,
                         const rover_tls_client_options_t *options,
                         char *message) {
  struct tls__options own;
  struct tls__text why;
  tls__text_begin(&why, message, ROVER_TLS_MESSAGE_MAX);
  if (!tls || !options) return refuse(&why);
  return make(tls, &own, tls__options_of_client(&own, options, &why), &why);
}

int rover_tls_server_new(rover_tls_t **tls,
                         const rover_tls_server_options_t *options,
                         char *message) {
  struct tls__options own;
  struct tls__text why;
  tls__text_begin(&why, message, ROVER_TLS_MESSAGE_MAX);
  if (!tls || !options) return refuse(&why);
  return make(tls, &own, tls__options_of_server(&own, options, &why), &why);
}

int rover_tls_reload(rover_tls_t *tls, char *message) {
  struct tls__text why;
  tls__text_begin(&why, message, ROVER_TLS_MESSAGE_MAX);
  return tls__context_load(tls, tls__connection_prepare, &why);
}

rover_tls_t *rover_tls_ref(rover_tls_t *tls) {
  if (tls) tls->base.refs++;
  return tls;
}

void rover_tls_unref(rover_tls_t *tls) {
  if (tls) net__tls_context_unref(&tls->base);
}

int64_t rover_tls_expiry(const rover_tls_t *tls, const char **file) {
  return tls__files_first(&tls->files, false, file);
}

static int file(const rover_tls_t *tls, size_t index, const char **path,
                int64_t *expires, bool *is_list) {
  if (index >= tls->files.count) return UV_ENOENT;
  *path = tls->files.list[index].path;
  *expires = tls->files.list[index].expires;
  *is_list = tls->files.list[index].is_list;
  return 0;
}

const struct tls__functions tls__functions = {
    .version = ROVER_VERSION_HEX,
    .client_new = rover_tls_client_new,
    .server_new = rover_tls_server_new,
    .reload = rover_tls_reload,
    .ref = rover_tls_ref,
    .unref = rover_tls_unref,
    .expiry = rover_tls_expiry,
    .file = file};
