#include "alarm.h"

/* The life of an alarm: it is set to the earliest deadline; once it fires, its
 * owner applies the deadlines that have passed, and sets it to the next. Between
 * two firings the loop polls, whether libuv runs timers before that or after. */

static void on_timer(uv_timer_t *timer) {
  struct net__alarm *alarm = timer->data;
  uint64_t now = uv_now(timer->loop), polled = alarm->fired;

  alarm->due = NET_NEVER;
  alarm->fired = now;
  alarm->cb(alarm->data, polled, now);
}

void net__alarm_init(struct net__alarm *alarm, uv_loop_t *loop,
                     net__alarm_cb cb, void *data) {
  *alarm = (struct net__alarm){.due = NET_NEVER, .cb = cb, .data = data};
  uv_timer_init(loop, &alarm->timer);
  alarm->timer.data = alarm;
}

static void on_closed(uv_handle_t *timer) {
  struct net__alarm *alarm = timer->data;
  alarm->closed(alarm->data);
}

void net__alarm_close(struct net__alarm *alarm, void (*closed)(void *data)) {
  alarm->closed = closed;
  uv_close((uv_handle_t *)&alarm->timer, on_closed);
}

bool net__alarm_is_closing(const struct net__alarm *alarm) {
  return uv_is_closing((const uv_handle_t *)&alarm->timer);
}

void net__alarm_set(struct net__alarm *alarm, uint64_t due) {
  if (alarm->due <= due) return;
  uint64_t now = uv_now(alarm->timer.loop);
  alarm->due = due;
  uv_timer_start(&alarm->timer, on_timer, due > now ? due - now : 0, 0);
}

void net__alarm_soon(struct net__alarm *alarm) {
  net__alarm_set(alarm, uv_now(alarm->timer.loop));
}

/* A timer that is due now may fire in this turn. */
void net__alarm_next_turn(struct net__alarm *alarm) {
  net__alarm_set(alarm, uv_now(alarm->timer.loop) + 1);
}

void net__alarm_again(struct net__alarm *alarm, uint64_t due) {
  if (due == NET_NEVER) return;
  net__alarm_set(alarm, due > alarm->fired ? due : alarm->fired + 1);
}
