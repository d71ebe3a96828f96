#include "chaos.h"

#include <stdlib.h>
#include <string.h>

/* Any talker may find out from the first bytes that it hears to whom it is
 * connected, however many relays and fronts are between. */

enum { HEAD = 8, MAGIC = 0xc4 };

static struct talker *first, **last = &first, **by_id;
static uint64_t count, room;

struct talker *talker_new(const char *who) {
  struct talker *talker = calloc(1, sizeof *talker);

  CHECK(talker);
  talker->who = who;
  talker->open = true;
  if (count == room) {
    room = room ? room * 2 : 64;
    by_id = realloc(by_id, room * sizeof(struct talker *));
    CHECK(by_id);
  }
  talker->id = count;
  by_id[count++] = talker;
  *last = talker;
  last = &talker->next;
  return talker;
}

struct talker *talker_get(uint64_t id) {
  CHECK(id < count);
  return by_id[id];
}

static uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

/* The eight bytes at an offset that is a multiple of eight. */
static void word(uint64_t id, uint64_t offset, unsigned char bytes[8]) {
  uint64_t value = offset == 0 ? id << 8 | MAGIC : mix(id << 32 ^ offset);
  for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(value >> 8 * i);
}

static void bytes_at(uint64_t id, uint64_t offset, unsigned char *bytes,
                     size_t size) {
  unsigned char eight[8];

  while (size > 0) {
    size_t skip = offset % 8, part = 8 - skip;
    if (part > size) part = size;
    word(id, offset - skip, eight);
    memcpy(bytes, eight + skip, part);
    bytes += part;
    offset += part;
    size -= part;
  }
}

void talker_next(const struct talker *talker, char *bytes, size_t size) {
  bytes_at(talker->id, talker->said, (unsigned char *)bytes, size);
}

void talker_said(struct talker *talker, size_t size) {
  if (size > 0) CHECK(!talker->finished);
  talker->said += size;
}

/* -- Hearing ---------------------------------------------------------------- */

static void meet(struct talker *talker) {
  uint64_t id = 0;

  for (int i = 7; i >= 0; i--) id = id << 8 | talker->head[i];
  if ((id & 0xff) != MAGIC || id >> 8 >= count)
    chaos_fail(__FILE__, __LINE__,
               "%s %llu hears bytes that begin nothing: %016llx", talker->who,
               (unsigned long long)talker->id, (unsigned long long)id);
  struct talker *peer = by_id[id >> 8];
  if (peer->peer && peer->peer != talker)
    chaos_fail(__FILE__, __LINE__, "%s %llu hears %s %llu, who hears %s %llu",
               talker->who, (unsigned long long)talker->id, peer->who,
               (unsigned long long)peer->id, peer->peer->who,
               (unsigned long long)peer->peer->id);
  if (peer->audience)
    chaos_fail(__FILE__, __LINE__, "%s %llu and %s %llu both hear %s %llu",
               talker->who, (unsigned long long)talker->id, peer->audience->who,
               (unsigned long long)peer->audience->id, peer->who,
               (unsigned long long)peer->id);
  peer->audience = talker;
  talker->peer = peer;
}

static void compare(struct talker *talker, const char *bytes, size_t size) {
  static unsigned char want[1 << 12];

  while (size > 0) {
    size_t part = size < sizeof want ? size : sizeof want;
    bytes_at(talker->peer->id, talker->heard, want, part);
    if (memcmp(want, bytes, part) != 0) {
      size_t i = 0;
      while (want[i] == (unsigned char)bytes[i]) i++;
      chaos_fail(__FILE__, __LINE__,
                 "%s %llu hears another byte than %s %llu said at %llu",
                 talker->who, (unsigned long long)talker->id, talker->peer->who,
                 (unsigned long long)talker->peer->id,
                 (unsigned long long)(talker->heard + i));
    }
    talker->heard += part;
    bytes += part;
    size -= part;
  }
}

void talker_hears(struct talker *talker, const char *bytes, size_t size) {
  if (size > 0 && talker->ended)
    chaos_fail(__FILE__, __LINE__, "%s %llu hears bytes after the end",
               talker->who, (unsigned long long)talker->id);
  while (size > 0 && talker->heard < HEAD) {
    talker->head[talker->heard++] = (unsigned char)*bytes++;
    size--;
    if (talker->heard == HEAD) meet(talker);
  }
  if (size > 0) compare(talker, bytes, size);
  if (talker->peer && talker->heard > talker->peer->said)
    chaos_fail(__FILE__, __LINE__,
               "%s %llu has heard %llu bytes of %llu that %s %llu said",
               talker->who, (unsigned long long)talker->id,
               (unsigned long long)talker->heard,
               (unsigned long long)talker->peer->said, talker->peer->who,
               (unsigned long long)talker->peer->id);
}

static struct talker *peer_of(const struct talker *talker) {
  return talker->peer ? talker->peer : talker->audience;
}

/* Whether a front between the two may end the connection by itself. */
static bool may_be_ended(const struct talker *one, const struct talker *other) {
  return (one->server && one->server->ends) ||
         (other->server && other->server->ends);
}

static void check_all_heard(const struct talker *talker,
                            const struct talker *peer, const char *when) {
  if (talker->heard == peer->said) return;
  chaos_fail(__FILE__, __LINE__,
             "%s, %s %llu has heard %llu of %llu bytes of "
             "%s %llu",
             when, talker->who, (unsigned long long)talker->id,
             (unsigned long long)talker->heard, (unsigned long long)peer->said,
             peer->who, (unsigned long long)peer->id);
}

void talker_ends(struct talker *talker) {
  const struct talker *peer = peer_of(talker);

  CHECK(!talker->ended);
  talker->ended = true;
  if (!peer || peer->broken || talker->broken) return;
  if (may_be_ended(talker, peer)) return;
  if (!peer->finished)
    chaos_fail(__FILE__, __LINE__,
               "%s %llu hears an end that %s %llu did not "
               "say",
               talker->who, (unsigned long long)talker->id, peer->who,
               (unsigned long long)peer->id);
  check_all_heard(talker, peer, "at the end");
}

void talker_break(struct talker *talker) { talker->broken = true; }

void talker_close(struct talker *talker) { talker->open = false; }

void talkers_break(bool (*matches)(const struct talker *talker,
                                   const void *arg),
                   const void *arg) {
  for (struct talker *talker = first; talker; talker = talker->next) {
    if (!matches(talker, arg)) continue;
    talker_break(talker);
    talker_close(talker);
  }
}

void talkers_check(void) {
  for (struct talker *talker = first; talker; talker = talker->next) {
    struct talker *peer = talker->open ? peer_of(talker) : NULL;
    if (!peer || !peer->open || !talker->listens) continue;
    if (talker->broken || peer->broken || peer->ended) continue;
    check_all_heard(talker, peer, "once all is calm");
  }
}

struct talkers_sum talkers_sum(void) {
  struct talkers_sum sum = {.count = count};

  for (struct talker *talker = first; talker; talker = talker->next) {
    sum.said += talker->said;
    sum.heard += talker->heard;
    sum.ended += talker->ended;
  }
  return sum;
}

void talkers_free(void) {
  while (first) {
    struct talker *next = first->next;
    free(first);
    first = next;
  }
  free(by_id);
}
