#include "lookup.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../net/list.h"

/* The life of a look-up: the first attempt that asks for a name starts the
 * system's resolver in a thread of libuv's pool; later attempts, of any
 * rover that shares the turn, join it, and get the same addresses, each in a
 * different order. It cannot be interrupted, and continues when all have
 * left, so a name whose DNS server is silent never occupies more than one
 * thread. An answer is not cached, since the resolver does not say how long
 * it is valid. */
struct rover__lookup {
  uv_getaddrinfo_t request;
  rover_t *rover;      /* started it; cannot close before it is over */
  rover_turn_t *among; /* NULL: too late to join */
  struct rover__lookup *prev, *next; /* in among->lookups */
  struct rover__asker *askers;
  char host[];
};

/* -- Threads -------------------------------------------------------------- */

/* libuv's pool starts when it is first used, and aborts the process if it
 * cannot create all of its threads. So as many threads are created first, as a
 * trial, and ended. This cannot tell whether the pool has started already, and
 * another process may take what was free; but after a first look-up, no rover
 * of the turn tries again. */

struct trial {
  uv_thread_t thread;
  uv_sem_t *over;
  long id;
};

static void wait_for_others(void *arg) {
  struct trial *trial = arg;
  trial->id = syscall(SYS_gettid);
  uv_sem_wait(trial->over);
}

/* The kernel still counts a thread for a moment after it was joined. */
static bool is_gone(const struct trial *trial) {
  uint64_t late = uv_hrtime() + 1000000000;
  while (syscall(SYS_tgkill, getpid(), trial->id, 0) == 0) {
    if (uv_hrtime() > late) return false;
    sched_yield();
  }
  return true;
}

/* As libuv computes it. */
static int pool_size(void) {
  char set[16];
  size_t length = sizeof set;
  int err = uv_os_getenv("UV_THREADPOOL_SIZE", set, &length);
  if (err == UV_ENOENT) return 4;
  long size = err < 0 ? 1024 : strtol(set, NULL, 10);
  if (size == 0) return 1;
  return size < 0 || size > 1024 ? 1024 : (int)size;
}

static int try_threads(void) {
  int count = pool_size(), made = 0;
  struct trial *trials = calloc((size_t)count, sizeof *trials);
  uv_sem_t over;
  if (!trials) return UV_ENOMEM;
  int err = uv_sem_init(&over, 0);
  if (err < 0) {
    free(trials);
    return err;
  }

  while (err == 0 && made < count) {
    trials[made].over = &over;
    err =
        uv_thread_create(&trials[made].thread, wait_for_others, &trials[made]);
    if (err == 0) made++;
  }
  for (int i = 0; i < made; i++) uv_sem_post(&over);
  for (int i = 0; i < made; i++) {
    uv_thread_join(&trials[i].thread);
    if (!is_gone(&trials[i])) err = UV_EAGAIN;
  }
  uv_sem_destroy(&over);
  free(trials);
  return err;
}

/* -- An answer ------------------------------------------------------------ */

/* The addresses found: first those of the family that the system prefers, as it
 * knows the routes, then the others. */
struct answer {
  union net__address *addresses;
  size_t count, first;
};

static void take_family(struct answer *answer, const struct addrinfo *found,
                        int family, bool of_it) {
  for (; found; found = found->ai_next) {
    if ((found->ai_family == family) != of_it ||
        found->ai_addrlen > sizeof *answer->addresses)
      continue;
    memcpy(&answer->addresses[answer->count++], found->ai_addr,
           found->ai_addrlen);
  }
}

static int take(struct answer *answer, const struct addrinfo *found) {
  size_t count = 0;
  for (const struct addrinfo *i = found; i; i = i->ai_next) count++;
  if (count == 0) return UV_EAI_NODATA;
  answer->addresses = malloc(count * sizeof *answer->addresses);
  if (!answer->addresses) return UV_ENOMEM;
  take_family(answer, found, found->ai_family, true);
  answer->first = answer->count;
  take_family(answer, found, found->ai_family, false);
  return answer->count > 0 ? 0 : UV_EAI_NODATA;
}

static void shuffle(rover_t *rover, union net__address *addresses,
                    size_t count) {
  for (; count > 1; count--) {
    size_t i = rover__random_below(&rover->random.orders, count);
    union net__address other = addresses[i];
    addresses[i] = addresses[count - 1];
    addresses[count - 1] = other;
  }
}

/* Alternates between the families as long as both have addresses left, and
 * shuffles each, so that attempts are spread over all addresses. */
static union net__address *order(rover_t *rover, struct answer *answer) {
  union net__address *from = answer->addresses;
  size_t i = 0, j = answer->first, size = answer->count * sizeof *from;
  union net__address *to = malloc(size);
  if (!to) return NULL;

  shuffle(rover, from, answer->first);
  shuffle(rover, from + answer->first, answer->count - answer->first);
  for (size_t n = 0; n < answer->count; n++) {
    bool of_first = i < answer->first && (n % 2 == 0 || j == answer->count);
    to[n] = from[of_first ? i++ : j++];
  }
  return to;
}

/* -- The resolver --------------------------------------------------------- */

static ptrdiff_t size_of(const struct rover__lookup *lookup) {
  return (ptrdiff_t)(sizeof *lookup + strlen(lookup->host) + 1);
}

static void release(struct rover__lookup *lookup) {
  rover_t *rover = lookup->rover;
  rover__count_memory(rover, -size_of(lookup));
  free(lookup);
  rover__unref(rover);
}

static void unlist(struct rover__lookup *lookup) {
  if (!lookup->among) return;
  DL_DELETE(lookup->among->lookups, lookup);
  lookup->among = NULL;
}

static void answer_all(struct rover__lookup *lookup, int status,
                       struct answer *answer) {
  struct rover__asker *asker;

  while ((asker = lookup->askers)) {
    union net__address *own = NULL;
    int err = status;
    if (answer->count > 0 && !(own = order(asker->rover, answer)))
      err = UV_ENOMEM;
    DL_DELETE(lookup->askers, asker);
    asker->lookup = NULL;
    asker->answered(asker, err, own, own ? answer->count : 0);
  }
}

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *found) {
  struct rover__lookup *lookup = request->data;
  struct answer answer = {0};

  /* Attempts from now on need a newer answer. */
  unlist(lookup);
  if (lookup->askers) {
    status = status < 0 ? net__address_blame(status) : take(&answer, found);
    answer_all(lookup, status, &answer);
  }
  free(answer.addresses);
  uv_freeaddrinfo(found);
  release(lookup);
}

static struct rover__lookup *find(const rover_turn_t *among, const char *host) {
  struct rover__lookup *lookup = among->lookups;
  while (lookup && strcasecmp(lookup->host, host) != 0) lookup = lookup->next;
  return lookup;
}

static int start(rover_t *rover, rover_turn_t *among, const char *host,
                 struct rover__lookup **started) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  size_t size = strlen(host) + 1;
  int err = among->has_pool ? 0 : try_threads();
  if (err < 0) return err;
  struct rover__lookup *lookup = malloc(sizeof *lookup + size);
  if (!lookup) return UV_ENOMEM;

  *lookup = (struct rover__lookup){.rover = rover, .among = among};
  lookup->request.data = lookup;
  memcpy(lookup->host, host, size);
  err = uv_getaddrinfo(rover->loop, &lookup->request, on_resolved, host, NULL,
                       &hints);
  if (err < 0) {
    free(lookup);
    return err;
  }
  among->has_pool = true;
  rover->refs++;
  rover__count_memory(rover, size_of(lookup));
  DL_APPEND(among->lookups, lookup);
  *started = lookup;
  return 0;
}

int rover__lookup_ask(rover_t *rover, const char *host,
                      struct rover__asker *asker) {
  rover_turn_t *among = rover->turn;
  struct rover__lookup *lookup = find(among, host);
  int err = lookup ? 0 : start(rover, among, host, &lookup);
  if (err < 0) return err;
  asker->rover = rover;
  asker->lookup = lookup;
  DL_APPEND(lookup->askers, asker);
  return 0;
}

void rover__lookup_leave(struct rover__asker *asker) {
  struct rover__lookup *lookup = asker->lookup;
  if (!lookup) return;
  asker->lookup = NULL;
  DL_DELETE(lookup->askers, asker);
  /* Only a look-up that no thread has begun can be cancelled. */
  if (!lookup->askers && uv_cancel((uv_req_t *)&lookup->request) == 0)
    unlist(lookup);
}

void rover__lookups_forget(rover_turn_t *turn) {
  while (turn->lookups) unlist(turn->lookups);
}
