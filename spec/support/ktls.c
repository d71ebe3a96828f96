/* The kernel's TLS (kTLS) for machines without, to be preloaded: what is sent on a
 * connection whose keys OpenSSL has handed over becomes records here. As older
 * kernels do, it takes the sending side of AES-GCM only, and the bytes that did
 * not fit go with the next. Whatever raises SIGPIPE ends the program, and the
 * end says how many connections there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { SOCKETS = 64, RECORD = 16384 };

static int count; /* of connections that were taken over */

static struct sealer {
  bool is_on, is_13;
  int key_size;
  unsigned char key[32], iv[12];
  uint64_t sequence;
  unsigned char out[RECORD + 64]; /* a record, not gone yet */
  size_t length, done;
} sealers[SOCKETS];

#define NEXT(name, ...)                                                        \
  __typeof__(&(name)) next;                                                    \
  *(void **)&next = dlsym(RTLD_NEXT, #name);                                   \
  return next(__VA_ARGS__)

static ssize_t send_plainly(int fd, const void *bytes, size_t size, int flags) {
  NEXT(send, fd, bytes, size, flags);
}

static int set_plainly(int fd, int level, int name, const void *value,
                       socklen_t size) {
  NEXT(setsockopt, fd, level, name, value, size);
}

static void be_set(struct sealer *self, const unsigned char *key, int key_size,
                   const unsigned char *salt, const unsigned char *iv,
                   const unsigned char *sequence) {
  memcpy(self->key, key, (size_t)key_size);
  memcpy(self->iv, salt, 4);
  memcpy(self->iv + 4, iv, 8);
  self->key_size = key_size;
  for (int i = 0; i < 8; i++)
    self->sequence = self->sequence << 8 | sequence[i];
  self->is_on = true;
  count++;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  if (level == IPPROTO_TCP && name == TCP_ULP) return 0;
  if (level != SOL_TLS) return set_plainly(fd, level, name, value, size);
  const struct tls_crypto_info *info = value;
  const struct tls12_crypto_info_aes_gcm_128 *short_one = value;
  const struct tls12_crypto_info_aes_gcm_256 *long_one = value;
  errno = EINVAL;
  if (name != TLS_TX || fd >= SOCKETS) return -1;
  struct sealer *self = &sealers[fd];
  *self = (struct sealer){.is_13 = info->version == TLS_1_3_VERSION};
  if (info->cipher_type == TLS_CIPHER_AES_GCM_128)
    be_set(self, short_one->key, 16, short_one->salt, short_one->iv,
           short_one->rec_seq);
  else if (info->cipher_type == TLS_CIPHER_AES_GCM_256)
    be_set(self, long_one->key, 32, long_one->salt, long_one->iv,
           long_one->rec_seq);
  return self->is_on ? 0 : -1;
}

int close(int fd) {
  if (fd >= 0 && fd < SOCKETS) sealers[fd].is_on = false;
  NEXT(close, fd);
}

/* Makes a record of some kind: RFC 8446, 5.2, and RFC 5288. */
static void seal(struct sealer *self, int kind, const unsigned char *bytes,
                 size_t size) {
  unsigned char nonce[12], aad[13], number[8], inner = (unsigned char)kind;
  unsigned char *out = self->out;
  size_t head = self->is_13 ? 5 : 13, body = size + (self->is_13 ? 1 : 0);
  size_t length = head - 5 + body + 16;
  int n;
  for (int i = 0; i < 8; i++)
    number[i] = (unsigned char)(self->sequence >> (56 - 8 * i));
  self->sequence++;
  memcpy(nonce, self->iv, 12);
  out[0] = self->is_13 ? 23 : inner;
  out[1] = out[2] = 3;
  out[3] = (unsigned char)(length >> 8);
  out[4] = (unsigned char)length;
  if (self->is_13) {
    for (int i = 0; i < 8; i++) nonce[4 + i] ^= number[i];
    memcpy(aad, out, 5);
  } else {
    memcpy(nonce + 4, number, 8);
    memcpy(out + 5, number, 8);
    memcpy(aad, number, 8);
    memcpy(aad + 8, out, 3);
    aad[11] = (unsigned char)(size >> 8);
    aad[12] = (unsigned char)size;
  }
  EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(
      cipher, self->key_size == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(),
      NULL, self->key, nonce);
  EVP_EncryptUpdate(cipher, NULL, &n, aad, self->is_13 ? 5 : 13);
  EVP_EncryptUpdate(cipher, out + head, &n, bytes, (int)size);
  if (self->is_13) EVP_EncryptUpdate(cipher, out + head + size, &n, &inner, 1);
  EVP_EncryptFinal_ex(cipher, out + head + body, &n);
  EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, out + head + body);
  EVP_CIPHER_CTX_free(cipher);
  self->length = head + body + 16;
  self->done = 0;
}

/* Whether all of the last record has gone. */
static bool has_gone(int fd) {
  struct sealer *self = &sealers[fd];
  while (self->done < self->length) {
    ssize_t n = send_plainly(fd, self->out + self->done,
                             self->length - self->done, MSG_NOSIGNAL);
    if (n <= 0) return false;
    self->done += (size_t)n;
  }
  return true;
}

static ssize_t send_sealed(int fd, int kind, const void *bytes, size_t size,
                           int flags) {
  if (!(flags & MSG_NOSIGNAL)) abort();
  if (!has_gone(fd)) return -1;
  if (size > RECORD) size = RECORD;
  seal(&sealers[fd], kind, bytes, size);
  return has_gone(fd) || errno == EAGAIN ? (ssize_t)size : -1;
}

static bool is_on(int fd) {
  return fd >= 0 && fd < SOCKETS && sealers[fd].is_on;
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  if (is_on(fd)) return send_sealed(fd, 23, bytes, size, flags);
  return send_plainly(fd, bytes, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  if (is_on(fd)) {
    const struct cmsghdr *kind = CMSG_FIRSTHDR(message);
    if (!kind || kind->cmsg_level != SOL_TLS ||
        kind->cmsg_type != TLS_SET_RECORD_TYPE)
      abort();
    return send_sealed(fd, *CMSG_DATA(kind), message->msg_iov->iov_base,
                       message->msg_iov->iov_len, flags);
  }
  NEXT(sendmsg, fd, message, flags);
}

ssize_t write(int fd, const void *bytes, size_t size) {
  if (is_on(fd)) abort();
  NEXT(write, fd, bytes, size);
}

/* Time for what has not gone yet: peers are in the same process. */
ssize_t read(int fd, void *bytes, size_t size) {
  for (int each = 0; each < SOCKETS; each++)
    if (is_on(each)) has_gone(each);
  NEXT(read, fd, bytes, size);
}

__attribute__((destructor)) static void tell(void) {
  if (count > 0) fprintf(stderr, "ktls: %d\n", count);
}
