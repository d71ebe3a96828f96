#include "certificates.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../discover/modules.h"
#include "../lua/tls.h"
#include "../tls/functions.h"
#include "later.h"
#include "record.h"
#include "say.h"

/* What certificates say is known to the TLS contexts that a policy has made.
 * Several of these may have read one file, at different times: what expires
 * first counts. */

enum { DAY = 24 * 3600, WARN_DAYS = 14 };

/* -- Their files ---------------------------------------------------------- */

struct file {
  rover_host_certificate_t certificate; /* its path is the context's */
  bool is_list; /* of revocations: when the next is due */
};

struct list {
  struct file *files;
  size_t count, capacity;
  int err;
};

static void add(struct list *list, const struct file *file) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? list->capacity * 2 : 8;
    void *files = realloc(list->files, capacity * sizeof *list->files);
    if (!files) {
      list->err = UV_ENOMEM;
      return;
    }
    list->files = files;
    list->capacity = capacity;
  }
  list->files[list->count++] = *file;
}

static void add_context(rover_tls_t *tls, void *arg) {
  char message[512];
  const struct tls__functions *functions =
      discover__modules_tls(message, sizeof message);
  struct file file;

  if (!functions) return; /* then there is no context */
  for (size_t i = 0;
       functions->file(tls, i, &file.certificate.file,
                       &file.certificate.expires, &file.is_list) == 0;
       i++)
    if (file.certificate.expires != INT64_MAX) add(arg, &file);
}

/* Certificates and lists may be in one file. */
static int compare_places(const struct file *one, const struct file *other) {
  int order = strcmp(one->certificate.file, other->certificate.file);
  return order != 0 ? order : one->is_list - other->is_list;
}

/* By path, then the first to expire. */
static int compare(const void *a, const void *b) {
  const struct file *one = a, *other = b;
  int64_t ends = one->certificate.expires, end = other->certificate.expires;
  int order = compare_places(one, other);
  return order != 0 ? order : (ends > end) - (ends < end);
}

/* Each file once. Returns UV_ENOMEM, and none, if there is no memory. */
static int list_files(const struct host__policy *policy, struct list *list) {
  size_t count = 0;

  *list = (struct list){0};
  rover__lua_tls_each(policy->lua, add_context, list);
  if (list->err < 0) {
    free(list->files);
    return list->err;
  }
  if (list->count > 1)
    qsort(list->files, list->count, sizeof *list->files, compare);
  for (size_t i = 0; i < list->count; i++)
    if (i == 0 || compare_places(&list->files[i - 1], &list->files[i]) != 0)
      list->files[count++] = list->files[i];
  list->count = count;
  return 0;
}

int host__certificates_each(rover_host_t *host,
                            const struct host__policy *policy,
                            rover_host_certificate_cb certificate, void *arg) {
  struct list list;
  int err = list_files(policy, &list);

  if (err < 0) return err;
  for (size_t i = 0; i < list.count; i++)
    if (!list.files[i].is_list) certificate(host, &list.files[i].certificate, arg);
  free(list.files);
  return 0;
}

/* -- Warnings ------------------------------------------------------------- */

/* A list is replaced often, so only one that has not been in time counts. */
static void warn(rover_host_t *host, const struct file *file) {
  const rover_host_certificate_t *certificate = &file->certificate;
  double left = (double)certificate->expires - host__wall_time();
  time_t at = (time_t)certificate->expires;
  struct tm tm;
  char date[64] = "";

  if (left > (file->is_list ? 0 : (double)WARN_DAYS * DAY)) return;
  if (gmtime_r(&at, &tm)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (left <= 0)
    host__log(host, ROVER_HOST_WARN,
              file->is_list ? "revocation list is overdue"
                            : "certificate has expired",
              HOST__FIELDS(host__string("file", certificate->file),
                           host__string(file->is_list ? "due" : "expired",
                                        date)));
  else
    host__log(host, ROVER_HOST_WARN, "certificate expires soon",
              HOST__FIELDS(host__string("file", certificate->file),
                           host__string("expires", date),
                           host__count("days", (uint64_t)(left / DAY))));
}

static void on_day(uv_timer_t *timer) {
  rover_host_t *host = timer->data;
  struct list list;

  if (!host->policy) return;
  int err = list_files(host->policy, &list);
  if (err < 0) {
    host__log(host, ROVER_HOST_WARN, "cannot look at certificates",
              HOST__FIELDS(host__string("error", uv_strerror(err))));
    return;
  }
  for (size_t i = 0; i < list.count; i++) warn(host, &list.files[i]);
  free(list.files);
}

void host__certificates_open(rover_host_t *host) {
  uv_timer_init(host->loop, &host->daily);
  uv_unref((uv_handle_t *)&host->daily);
  host->daily.data = host;
  host->handles++;
}

static void on_closed(uv_handle_t *timer) { host__unref(timer->data); }

void host__certificates_close(rover_host_t *host) {
  uv_close((uv_handle_t *)&host->daily, on_closed);
}

void host__certificates_follow(rover_host_t *host) {
  const uint64_t day = (uint64_t)DAY * 1000;
  uv_timer_start(&host->daily, on_day, day, day);
  on_day(&host->daily);
}
