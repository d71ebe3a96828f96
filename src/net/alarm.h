/* Private to src/net, src/relay and src/front: one timer for all deadlines of an
 * object. */
#ifndef NET_ALARM_H
#define NET_ALARM_H

#include <stdbool.h>

#include <uv.h>

#include "clock.h"

/* `polled` is a time after which the loop has polled, and `now` the loop's: if
 * the loop was blocked, what a deadline waits for may have arrived long ago, so
 * only those before `polled` count. */
typedef void (*net__alarm_cb)(void *data, uint64_t polled, uint64_t now);

struct net__alarm {
  uv_timer_t timer;
  uint64_t due;   /* when it fires, in the loop's time; or NET_NEVER */
  uint64_t fired; /* when it last fired, in the loop's time */
  net__alarm_cb cb;
  void (*closed)(void *data);
  void *data;
};

/* Keeps the loop alive while it is set. */
void net__alarm_init(struct net__alarm *alarm, uv_loop_t *loop,
                     net__alarm_cb cb, void *data);
void net__alarm_close(struct net__alarm *alarm, void (*closed)(void *data));
bool net__alarm_is_closing(const struct net__alarm *alarm);

/* Fires at `due` at the latest; the second in the next turn of the loop or in
 * this one, the third in the next turn. */
void net__alarm_set(struct net__alarm *alarm, uint64_t due);
void net__alarm_soon(struct net__alarm *alarm);
void net__alarm_next_turn(struct net__alarm *alarm);

/* At the end of the callback: fires again at `due`, but not before the loop has
 * polled. */
void net__alarm_again(struct net__alarm *alarm, uint64_t due);

#endif
