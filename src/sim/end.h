/* Private to src/sim: what an end of a connection tells its program. */
#ifndef SIM_END_H
#define SIM_END_H

/* One end of a connection. */
struct sim__end;

/* Any may be NULL. */
struct sim__end_ops {
  /* A connection that sim__connect() began is established. */
  void (*connected)(struct sim__end *end);
  /* Bytes have arrived, or the peer's FIN: sim__read() until it returns
   * -EAGAIN, or leave them, and the peer's writing stops sooner or later. */
  void (*readable)(struct sim__end *end);
  /* Once, after sim__write() took less than all: there is room again. */
  void (*writable)(struct sim__end *end);
  /* The connection broke: ECONNRESET, ECONNREFUSED, ETIMEDOUT (a peer that
   * vanished), EHOSTUNREACH; ECANCELED: its machine stopped. Nothing else comes
   * from this end; it is freed when this returns. What had arrived before can
   * still be read here. */
  void (*ended)(struct sim__end *end, int err);
};

#endif
