/* Private to src/net, src/rover, src/front and src/discover: a hash with a key,
 * for tables of what others have named. Whoever knows the hash of a table can
 * find names that all come to one place, and 100,000 of them stop the loop for
 * ten seconds. So its key is drawn at random, and nobody gets to see a hash, nor
 * anything that depends on it, such as an order.
 *
 * It is wyhash, final version 3, where each word that is public there is part of
 * the key. SipHash-1-3, which promises more, has servers added a tenth more
 * slowly. */
#ifndef NET_HASH_H
#define NET_HASH_H

#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <uv.h>

struct net__hash_key {
  uint64_t words[4];
};

/* Draws one. Errors: those of uv_random(). */
static inline int net__hash_key_draw(struct net__hash_key *key) {
  return uv_random(NULL, NULL, key, sizeof *key, 0, NULL);
}

/* Both halves of the product count. */
static inline uint64_t net__hash_mix(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
  __extension__ typedef unsigned __int128 product_t;
  product_t product = (product_t)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
#else /* processors of 32 bits */
  uint64_t low = (a & UINT32_MAX) * (b & UINT32_MAX);
  uint64_t one = (a >> 32) * (b & UINT32_MAX) + (low >> 32);
  uint64_t other = (a & UINT32_MAX) * (b >> 32) + (one & UINT32_MAX);
  uint64_t high = (a >> 32) * (b >> 32) + (one >> 32) + (other >> 32);
  return high ^ (other << 32 | (low & UINT32_MAX));
#endif
}

static inline uint64_t net__hash_8(const unsigned char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return le64toh(word);
}

static inline uint64_t net__hash_4(const unsigned char *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return le32toh(word);
}

static inline uint64_t net__hash_16(const unsigned char *bytes, uint64_t word,
                                    uint64_t state) {
  return net__hash_mix(net__hash_8(bytes) ^ word,
                       net__hash_8(bytes + 8) ^ state);
}

static inline uint64_t net__hash_64(const struct net__hash_key *key,
                                    const void *bytes, size_t length) {
  const uint64_t *k = key->words;
  const unsigned char *at = bytes, *end = at + length;
  uint64_t state = k[0], a = 0, b = 0;

  if (length > 48) {
    uint64_t other = state, third = state;
    for (; end - at > 48; at += 48) {
      state = net__hash_16(at, k[1], state);
      other = net__hash_16(at + 16, k[2], other);
      third = net__hash_16(at + 32, k[3], third);
    }
    state ^= other ^ third;
  }
  for (; end - at > 16; at += 16) state = net__hash_16(at, k[1], state);

  /* The last words overlap what came before. */
  if (length > 16) {
    a = net__hash_8(end - 16);
    b = net__hash_8(end - 8);
  } else if (length >= 4) {
    size_t far = length >= 8 ? 4 : 0;
    a = net__hash_4(at) << 32 | net__hash_4(at + far);
    b = net__hash_4(end - 4) << 32 | net__hash_4(end - 4 - far);
  } else if (length > 0) {
    a = (uint64_t)at[0] << 16 | (uint64_t)at[length / 2] << 8 | end[-1];
  }
  return net__hash_mix(k[1] ^ length, net__hash_mix(a ^ k[1], b ^ state));
}

static inline uint32_t net__hash(const struct net__hash_key *key,
                                 const void *bytes, size_t length) {
  return (uint32_t)net__hash_64(key, bytes, length);
}

#endif
