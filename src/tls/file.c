#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

enum { FILE_MAX = 16 << 20 };

int tls__files_new(struct tls__files *files) {
  *files = (struct tls__files){.digest = EVP_MD_CTX_new()};
  return files->digest && EVP_DigestInit_ex(files->digest, EVP_sha256(), NULL)
             ? 0
             : UV_ENOMEM;
}

void tls__files_free(struct tls__files *files) {
  for (size_t i = 0; i < files->count; i++) free(files->list[i].path);
  free(files->list);
  EVP_MD_CTX_free(files->digest);
  *files = (struct tls__files){0};
}

void tls__files_digest(struct tls__files *files, const void *bytes,
                       size_t length) {
  uint64_t size = length;
  EVP_DigestUpdate(files->digest, &size, sizeof size);
  EVP_DigestUpdate(files->digest, bytes, length);
}

void tls__files_digest_text(struct tls__files *files, const char *text) {
  tls__files_digest(files, text ? text : "", text ? strlen(text) + 1 : 0);
}

void tls__files_digested(struct tls__files *files, unsigned char digest[32]) {
  EVP_DigestFinal_ex(files->digest, digest, NULL);
}

bool tls__is_folder(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int cannot(const char *path, const char *what, int err,
                  struct tls__text *why) {
  tls__text_add(why, "cannot read %s, %s: %s", path, what, uv_strerror(err));
  if (err == UV_EACCES)
    tls__text_add(why, "; this process has the user id %ld", (long)geteuid());
  return err;
}

/* Opens without waiting, as for the other end of a FIFO. */
static int open_regular(const char *path, const char *what, int *fd,
                        struct tls__text *why) {
  struct stat status;
  *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (*fd < 0) return cannot(path, what, -errno, why);
  int err = fstat(*fd, &status) < 0     ? -errno
            : S_ISDIR(status.st_mode)   ? UV_EISDIR
            : !S_ISREG(status.st_mode)  ? UV_EINVAL
            : status.st_size > FILE_MAX ? UV_EFBIG
                                        : 0;
  if (err == 0) return 0;
  close(*fd);
  if (err != UV_EINVAL) return cannot(path, what, err, why);
  tls__text_add(why, "cannot read %s, %s: it is no regular file", path, what);
  return err;
}

static int read_all(int fd, BIO *bio) {
  char bytes[16384];
  size_t all = 0;
  for (;;) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n == 0) return 0;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if ((all += (size_t)n) > FILE_MAX) return UV_EFBIG;
    if (BIO_write(bio, bytes, (int)n) != n) return UV_ENOMEM;
  }
}

static int add(struct tls__files *files, const char *path, bool is_list) {
  for (files->current = 0; files->current < files->count; files->current++) {
    const struct tls__file *each = &files->list[files->current];
    if (each->is_list == is_list && strcmp(each->path, path) == 0) return 0;
  }
  struct tls__file *list =
      realloc(files->list, (files->count + 1) * sizeof *list);
  if (!list) return UV_ENOMEM;
  files->list = list;
  list[files->count] = (struct tls__file){
      .path = strdup(path), .expires = INT64_MAX, .is_list = is_list};
  if (!list[files->count].path) return UV_ENOMEM;
  files->count++;
  return 0;
}

static int read_file(struct tls__files *files, const char *path, bool is_list,
                     const char *what, BIO **bio, struct tls__text *why) {
  int fd;
  int err = open_regular(path, what, &fd, why);
  if (err < 0) return err;
  BIO *bytes = BIO_new(BIO_s_mem());
  err = bytes ? read_all(fd, bytes) : UV_ENOMEM;
  close(fd);
  if (err == 0) err = add(files, path, is_list);
  if (err < 0) {
    BIO_free(bytes);
    return cannot(path, what, err, why);
  }
  /* So that a reset begins with it again, and does not empty it. */
  BIO_set_flags(bytes, BIO_FLAGS_NONCLEAR_RST);
  char *all = NULL;
  long length = BIO_get_mem_data(bytes, &all);
  tls__files_digest(files, all, length > 0 ? (size_t)length : 0);
  *bio = bytes;
  return 0;
}

int tls__files_read(struct tls__files *files, const char *path,
                    const char *what, BIO **bio, struct tls__text *why) {
  return read_file(files, path, false, what, bio, why);
}

int tls__files_read_lists(struct tls__files *files, const char *path,
                          const char *what, BIO **bio, struct tls__text *why) {
  return read_file(files, path, true, what, bio, why);
}

void tls__files_expire(struct tls__files *files, const ASN1_TIME *date) {
  struct tls__file *file = &files->list[files->current];
  int64_t seconds = tls__date(date);
  if (seconds < file->expires) file->expires = seconds;
}

int64_t tls__files_first(const struct tls__files *files, bool is_list,
                         const char **path) {
  const struct tls__file *first = NULL;
  for (size_t i = 0; i < files->count; i++)
    if (files->list[i].is_list == is_list &&
        files->list[i].expires < (first ? first->expires : INT64_MAX))
      first = &files->list[i];
  if (path) *path = first ? first->path : NULL;
  return first ? first->expires : INT64_MAX;
}
