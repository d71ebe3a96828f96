/* Private to src/tls: the files that a context is made of, read once, and what
 * became of them: when they expire, and a digest of all that they say. */
#ifndef TLS_FILE_H
#define TLS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/evp.h>

#include "text.h"

struct tls__file {
  char *path;
  int64_t expires; /* the first of what it has; INT64_MAX: nothing expires */
  bool is_list;    /* of revoked certificates */
};

struct tls__files {
  struct tls__file *list; /* each path once as lists, once as others */
  size_t count, current;
  EVP_MD_CTX *digest;
};

/* Errors: UV_ENOMEM. What is made has to be freed, also then. */
int tls__files_new(struct tls__files *files);
void tls__files_free(struct tls__files *files);

/* Adds to the digest; a missing text is not an empty one. */
void tls__files_digest(struct tls__files *files, const void *bytes,
                       size_t length);
void tls__files_digest_text(struct tls__files *files, const char *text);
void tls__files_digested(struct tls__files *files, unsigned char digest[32]);

/* Reads a file whole: it has to be a regular one, of at most 16 MiB. `bio` then
 * has its bytes. `what` is what it is for ("the CAs"). Errors: of the
 * system. */
int tls__files_read(struct tls__files *files, const char *path,
                    const char *what, BIO **bio, struct tls__text *why);
/* As a file of revocation lists. */
int tls__files_read_lists(struct tls__files *files, const char *path,
                          const char *what, BIO **bio, struct tls__text *why);
/* The file that was read last has something that expires then. */
void tls__files_expire(struct tls__files *files, const ASN1_TIME *date);
/* When the first of the certificates expires, or of the revocation lists is due:
 * seconds since 1970, or INT64_MAX. `path` may be NULL. */
int64_t tls__files_first(const struct tls__files *files, bool is_list,
                         const char **path);

bool tls__is_folder(const char *path);

#endif
