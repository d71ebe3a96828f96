#include "base.h"

#include "../net/clock.h"

/* -- Random numbers: SplitMix64 ------------------------------------------- */

static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

double rover__random_fraction(uint64_t *state) {
  return (double)(next_random(state) >> 11) * 0x1.0p-53;
}

uint64_t rover__random_below(uint64_t *state, uint64_t bound) {
  /* 2^64 is not a multiple of most bounds, so the first 2^64 % bound numbers
   * are drawn again; otherwise they would favour some results. */
  uint64_t uneven = (0 - bound) % bound;
  uint64_t number;
  do number = next_random(state);
  while (number < uneven);
  return number % bound;
}

/* -- Counters ------------------------------------------------------------- */

void rover__count_memory(const rover_t *rover, ptrdiff_t bytes) {
  if (rover->options.memory) *rover->options.memory += (size_t)bytes;
}

/* One counter for each of libuv's error codes. */
enum {
#define XX(code, message) CAUSE_##code,
  UV_ERRNO_MAP(XX)
#undef XX
};

static int cause(int status) {
  switch (status) {
#define XX(code, message)                                                      \
  case UV_##code: return CAUSE_##code;
    UV_ERRNO_MAP(XX)
#undef XX
    default: return CAUSE_UNKNOWN;
  }
}

void rover__count_unreachable(rover_t *rover, int status) {
  rover->stats.unreachable++;
  rover->unreachable[cause(status)]++;
}

uint64_t rover_unreachable_count(const rover_t *rover, int status) {
  return rover->unreachable[cause(status)];
}

/* -- TLS ------------------------------------------------------------------ */

bool rover__tls_is_valid(rover_tls_t *tls) {
  return !tls || !rover__tls_context(tls)->is_server;
}

void rover__tls_ref(rover_tls_t *tls) {
  if (tls) net__tls_context_ref(rover__tls_context(tls));
}

void rover__tls_unref(rover_tls_t *tls) {
  net__tls_context_unref(rover__tls_context(tls));
}

void rover__tls_follow(rover_tls_t *tls, rover_tls_t *old) {
  struct net__tls_context *context = rover__tls_context(tls);
  if (tls && old && tls != old)
    context->type->follow(context, rover__tls_context(old));
}

/* -- The rest ------------------------------------------------------------- */

void rover__unref(rover_t *rover) {
  if (--rover->refs == 0) rover->free(rover);
}

/* libuv counts from the loop's time. */
uint64_t rover__due_in(const rover_t *rover) {
  uint64_t due = uv_now(rover->loop) + uv_timer_get_due_in(&rover->clock);
  uint64_t now = net__now();
  return due > now ? due - now : 0;
}

void rover__rove_in(rover_t *rover, uint64_t ms) {
  if (rover__due_in(rover) > 0)
    uv_timer_start(&rover->clock, rover->tick,
                   net__now() + ms - uv_now(rover->loop), 0);
}
