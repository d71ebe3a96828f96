/* Private to the chaos program, see main.c. */
#ifndef CHAOS_H
#define CHAOS_H

#include <callosum/host.h>
#include <callosum/workers.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/kernel.h"
#include "sim/network.h"
#include "sim/tcp.h"
#include "sim/work.h"

/* -- report.c: what went wrong, and what came before ----------------------- */

/* Ends the run, and shows its last events, unless `condition` holds. */
#define CHECK(condition)                                                       \
  ((condition) ? (void)0 : chaos_fail(__FILE__, __LINE__, "%s", #condition))
#define EQUAL(expected, actual)                                                \
  do {                                                                         \
    long long want_ = (long long)(expected), got_ = (long long)(actual);       \
    if (want_ != got_)                                                         \
      chaos_fail(__FILE__, __LINE__, "%s is %lld and not %lld", #actual, got_, \
                 want_);                                                       \
  } while (0)
__attribute__((format(printf, 3, 4))) _Noreturn void
chaos_fail(const char *file, int line, const char *format, ...);

/* Something has happened: it is in the hash of the run, and shown if the run
 * fails soon. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);

/* With `verbose`, shows all events at once. */
void report_start(uint64_t seed, bool verbose);

/* To see that the checks find something: what is made wrong on purpose. */
enum fault {
  SOUND,
  LOST_BYTE,   /* an end counts a byte as said that was not */
  STUCK_INDEX, /* a front does not free an index */
  UNCOUNTED    /* a rover does not count an attempt that was cancelled */
};
extern enum fault fault;

/* -- draw.c: one stream of random numbers for all -------------------------- */

void draw_start(void);
uint64_t draw(uint64_t bound); /* below that */
uint64_t draw_in(uint64_t least, uint64_t most);
bool one_in(unsigned n);                          /* never, if 0 */
uint64_t draw_log(uint64_t least, uint64_t most); /* each order of magnitude is
                                                     as likely */
uint64_t draw_odd(uint64_t least, uint64_t most); /* mostly 0: the default */

uint64_t draw_size(void); /* of what is said at a time */

/* -- talker.c: what each end of a connection says and hears ----------------- */

struct server;

/* What an end says begins with its number, and each byte after that is a
 * function of number and offset. Whoever hears it thus sees whether a byte is
 * lost, comes twice, or is another's. */
struct talker {
  uint64_t id;
  const char *who;      /* "server", for reports */
  uint64_t said, heard; /* bytes */
  struct talker *peer;  /* to which it listens; NULL: it has heard no number */
  struct talker *audience; /* who listens to it */
  struct server *server;   /* whose it is, or NULL */
  unsigned char head[8];   /* the beginning of what it hears */
  bool finished;           /* it said all, and then ended its side in order */
  bool broken;  /* it cannot expect to be heard to the end, or to hear
                            all */
  bool ended;   /* the peer's end has come */
  bool listens; /* what is said to it is heard sooner or later */
  bool open;
  uint16_t port;     /* of a relay's client; 0: none that is known */
  const void *owner; /* the host in which it is, or NULL */
  unsigned rover;    /* the number of its rover there */
  struct talker *next;
};

struct talker *talker_new(const char *who);

/* The one of that number. */
struct talker *talker_get(uint64_t id);

/* Writes the `size` bytes that follow what it has said. */
void talker_next(const struct talker *talker, char *bytes, size_t size);

/* Its kernel has taken so many of these. */
void talker_said(struct talker *talker, size_t size);

void talker_hears(struct talker *talker, const char *bytes, size_t size);

/* The end of its peer's side has come, in order. */
void talker_ends(struct talker *talker);

void talker_break(struct talker *talker);
void talker_close(struct talker *talker);

/* Those that match have lost their connections. */
void talkers_break(bool (*matches)(const struct talker *talker,
                                   const void *arg),
                   const void *arg);

/* Once all is calm: what was said has been heard, if both are there. */
void talkers_check(void);

struct talkers_sum {
  uint64_t count, said, heard, ended;
};
struct talkers_sum talkers_sum(void);
void talkers_free(void);

/* -- native.c: ends of virtual programs, in C, without a loop --------------- */

enum speech { IS_MUTE, ECHOES, CHATS };

struct native {
  struct sim__end *end; /* NULL once it is over */
  struct talker *talker;
  struct native *prev, *next;
  struct server *server; /* whose it is; NULL: a relay's client */
  void (*over)(struct native *native);
  struct sim__event step;
  enum speech speech;
  bool reads, lazy; /* lazy: only now and then */
  bool wants_proxy, had_proxy;
  char line[64]; /* the rest of the slot line, or of a header */
  size_t line_left;
  uint64_t slot;
  uint64_t quota; /* bytes that it still wants to say of its own accord */
  bool finishing; /* ends its side once it has said that */
  unsigned char header[1024]; /* of the PROXY protocol */
  size_t header_length;
  bool has_head; /* header and number have come */
  uint16_t from; /* the port in the header */
};

/* Takes an end; `line` is said first. */
struct native *native_new(struct sim__end *end, const char *who,
                          struct server *server);

/* A client of a relay in a machine: at a port, or a path; begins with a PROXY
 * header, if so. */
void native_call(struct sim__machine *machine, uint16_t port, const char *path,
                 bool with_header);

void native_say(struct native *native); /* what it can say now */
void native_reset(struct native *native);

/* From now on all natives read, say what they must, and nothing else. */
void natives_calm(void);
void natives_check_over(void);
extern struct native *natives;

/* -- server.c: servers, with slots ------------------------------------------ */

struct host;

enum kind { CALLOSUM, FRONT, HOSTED };

struct server {
  enum kind kind;
  unsigned index;
  char name[16], host[48]; /* as rovers are told */
  struct sim__machine *machine;
  struct sim__listener *listener;
  enum speech speech;
  bool tame;  /* it makes no mistakes with slot lines */
  bool proxy; /* clients may begin with a header */
  bool up, paused;
  rover_front_t *front; /* if it is one's; else its own: */
  struct host *policy;  /* whose front it is, if HOSTED */
  bool closing;
  int closed;         /* fronts closed */
  uint64_t taken[64]; /* a bit for each slot */
  size_t count;       /* of connections */
  bool reweighed;     /* its front has had several weights */
  bool ends;          /* its front may have ended connections by itself */
  int send_proxy, accept_proxy;
};

enum { SERVERS_MAX = 8, SERVER_PORT = 4040, BACKEND_PORT = 5050 };
extern struct server servers[SERVERS_MAX];
extern unsigned server_count;

void servers_make(unsigned count, bool proxy);
void server_crash(struct server *server);
void server_revive(struct server *server);
void server_disturb(struct server *server); /* something is done to it */
void server_left(struct server *server, struct native *native);
void server_check(const struct server *server);
/* Connections that have a slot. */
uint64_t server_open(const struct server *server);
void servers_calm(void);
void servers_close(void);
void servers_check_closed(void);
/* Writes the slots that are taken, ascending; returns how many. */
size_t server_slots(const struct server *server, uint64_t *slots, size_t room);
struct server *server_named(const char *id);

/* -- machine.c ---------------------------------------------------------------- */

/* Within the machine: its workers, which run whenever the scheduler lets them,
 * as threads do; or NULL, if it has none. */
rover_workers_t *machine_workers(struct sim__machine *machine);

/* A machine whose code has closed all has nothing left. */
void machine_check_closed(struct sim__machine *machine);

/* -- indices.c: what the fronts' indices must be ----------------------------- */

/* Writes the slots of all taken indices, ascending; returns how many. */
size_t indices_slots(const rover_front_t *front, uint64_t *slots, size_t room);

/* -- rover.c: rovers and relays in C ----------------------------------------- */

void rovers_make(unsigned count, bool relays, int proxy);
void rovers_disturb(void);
void rovers_calm(void);
/* How many sockets they keep, or have joined. */
uint64_t rovers_kept(void);
/* Whether any are joined. */
bool rovers_relay(void);
/* Those that they keep. */
void rovers_each(void (*fn)(const char *id, int slot, void *arg), void *arg);
void rovers_check(void);
void rovers_close(void);
void rovers_check_closed(void);
struct sim__machine *rovers_machine(void); /* any; or NULL */

/* -- host.c: hosts, with policies --------------------------------------------- */

struct host *host_for_front(struct server *server);
rover_front_t *host_front(struct host *host);
void hosts_make(unsigned count, int proxy);
void hosts_disturb(void);
void hosts_calm(void);
uint64_t hosts_kept(void);
bool hosts_relay(void);
void hosts_each(void (*fn)(const char *id, int slot, void *arg), void *arg);
void hosts_check(void);
void hosts_close(void);
void hosts_check_closed(void);
struct sim__machine *hosts_machine(void);
extern const char *chaos_folder; /* of the policies */
extern const char *chaos_lua;    /* of the modules in Lua */

#endif
