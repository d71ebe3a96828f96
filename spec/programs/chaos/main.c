#include "chaos.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

/* chaos FOLDER LUA FROM COUNT [-v | FAULT]: runs COUNT fleets of the seeds FROM
 * and on, with the policies in FOLDER, and the modules in Lua in LUA. -v shows
 * all that happens; a FAULT is one that has to be found, see chaos.h.
 *
 * Each is a process in virtual time (see src/sim), in which random servers,
 * fronts, rovers, relays and policies do and suffer what the seed says. The
 * books are checked all the time; then all is left alone for a while, until
 * both sides have to agree; then all is closed, and nothing may be left. The
 * same seed is the same run; some are run twice, to see that it is so. */

enum fault fault;

enum { CALM = 200, CLOSING = 150, REAL_SECONDS = 120, TWICE = 8 };

/* -- A run -------------------------------------------------------------------- */

static struct {
  struct sim__event event;
  struct sim__machine *cut[8][2];
  uint64_t pace;
  unsigned count;
} chaos;

static struct sim__machine *any_machine(void) {
  struct sim__machine *machine = one_in(2) ? rovers_machine() : hosts_machine();
  return machine ? machine : servers[draw(server_count)].machine;
}

static void cut(unsigned i) {
  struct sim__machine *one = any_machine(),
                      *other = servers[draw(server_count)].machine;

  if (chaos.cut[i][0]) {
    sim__partition(chaos.cut[i][0], chaos.cut[i][1], false);
    note("machines %u and %u see each other", chaos.cut[i][0]->id,
         chaos.cut[i][1]->id);
    chaos.cut[i][0] = NULL;
  } else if (one != other) {
    chaos.cut[i][0] = one;
    chaos.cut[i][1] = other;
    sim__partition(one, other, true);
    note("machines %u and %u are cut off", one->id, other->id);
  }
}

static void check_books(void) {
  rovers_check();
  hosts_check();
  for (unsigned i = 0; i < server_count; i++) server_check(&servers[i]);
}

static void disturb(struct sim__event *event) {
  switch (draw(8)) {
    case 0:
    case 1: server_disturb(&servers[draw(server_count)]); break;
    case 2:
    case 3: hosts_disturb(); break;
    case 4:
      if (one_in(4)) cut((unsigned)draw(8));
      break;
    default: rovers_disturb(); break;
  }
  if (chaos.count-- % 16 == 0) check_books();
  if (chaos.count > 0)
    sim__event_set(event, sim__now() + draw_log(SIM__US, chaos.pace));
}

static void make_fleet(void) {
  int proxy = one_in(3) ? (int)draw_in(1, 2) : 0;

  sim__network.delay = draw_log(10 * SIM__US, 100 * SIM__MS);
  sim__network.jitter = draw(sim__network.delay + 1);
  sim__network.bandwidth = one_in(2) ? 0 : draw_log(1 << 16, 1 << 30);
  sim__network.receive = (uint32_t)draw_log(1 << 10, 1 << 20);
  sim__network.send = (uint32_t)draw_log(1 << 10, 1 << 20);
  sim__lookup_time = draw_log(SIM__US, SIM__S);
  note("delay %.3f ms, %llu bytes/s, receive %u, send %u",
       (double)sim__network.delay / SIM__MS,
       (unsigned long long)sim__network.bandwidth, sim__network.receive,
       sim__network.send);
  servers_make((unsigned)draw_in(1, SERVERS_MAX), proxy);
  rovers_make((unsigned)draw_in(0, 8), proxy > 0, proxy);
  hosts_make((unsigned)draw_in(0, 6), proxy);
}

/* -- What must be so at last -------------------------------------------------- */

enum { ROOM = 8192 };

static struct {
  uint64_t slots[SERVERS_MAX][ROOM];
  size_t counts[SERVERS_MAX];
} kept;

static void note_kept(const char *id, int slot, void *arg) {
  const struct server *server = server_named(id);
  (void)arg;
  CHECK(server && kept.counts[server->index] < ROOM);
  kept.slots[server->index][kept.counts[server->index]++] = (uint64_t)slot;
}

static int compare(const void *one, const void *other) {
  uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
  return a < b ? -1 : a > b;
}

/* The slots that clients have are those that are taken. */
static void check_slots(const struct server *server) {
  static uint64_t taken[ROOM];
  size_t count = server_slots(server, taken, ROOM);
  uint64_t *slots = kept.slots[server->index];

  qsort(slots, kept.counts[server->index], sizeof *slots, compare);
  if (kept.counts[server->index] != count)
    chaos_fail(__FILE__, __LINE__,
               "clients keep %zu connections to %s, which "
               "has %zu",
               kept.counts[server->index], server->name, count);
  for (size_t i = 0; i < count && !server->reweighed; i++)
    if (slots[i] != taken[i])
      chaos_fail(__FILE__, __LINE__,
                 "of %s clients have slot %llu, where %llu "
                 "is taken",
                 server->name, (unsigned long long)slots[i],
                 (unsigned long long)taken[i]);
}

static void check_both_sides(void) {
  uint64_t open = 0;
  bool relays = rovers_relay() || hosts_relay();

  talkers_check();
  rovers_each(note_kept, NULL);
  hosts_each(note_kept, NULL);
  for (unsigned i = 0; i < server_count; i++) {
    note("%s has %llu connections; of these %zu are kept", servers[i].name,
         (unsigned long long)server_open(&servers[i]), kept.counts[i]);
    open += server_open(&servers[i]);
    if (!relays) check_slots(&servers[i]);
  }
  EQUAL(open, rovers_kept() + hosts_kept());
}

static void calm_down(void) {
  note("all is left alone");
  for (unsigned i = 0; i < 8; i++)
    if (chaos.cut[i][0]) cut(i);
  servers_calm();
  rovers_calm();
  hosts_calm();
  natives_calm();
}

/* Clients leave first, so that the servers' slots have to be free. */
static void close_all(void) {
  note("all is closed");
  rovers_close();
  hosts_close();
  sim__run(sim__now() + CLOSING * (uint64_t)SIM__S);
  check_books();
  servers_close();
  sim__run(sim__now() + CLOSING * (uint64_t)SIM__S);
  natives_check_over();
  rovers_check_closed();
  hosts_check_closed();
  servers_check_closed();
}

static uint64_t run(uint64_t seed, bool verbose) {
  alarm(REAL_SECONDS);
  report_start(seed, verbose);
  sim__start(seed);
  draw_start();
  make_fleet();
  chaos.count = (unsigned)draw_log(32, 2048);
  chaos.pace = draw_log(10 * SIM__MS, 2 * (uint64_t)SIM__S);
  chaos.event.happen = disturb;
  sim__event_set(&chaos.event, 0);
  while (chaos.count > 0) sim__run(sim__now() + SIM__S);
  check_books();
  calm_down();
  sim__run(sim__now() + CALM * (uint64_t)SIM__S);
  check_books();
  check_both_sides();
  close_all();

  struct talkers_sum sum = talkers_sum();
  uint64_t hash = sim__trace_hash();
  if (verbose)
    fprintf(stderr,
            "seed %llu: %llu ends, %llu bytes said, %llu heard, %llu "
            "ends in order, hash %016llx\n",
            (unsigned long long)seed, (unsigned long long)sum.count,
            (unsigned long long)sum.said, (unsigned long long)sum.heard,
            (unsigned long long)sum.ended, (unsigned long long)hash);
  talkers_free();
  sim__end();
  alarm(0);
  return hash;
}

/* -- Runs, each in a process of its own ------------------------------------------- */

static void on_alarm(int signum) {
  (void)signum;
  chaos_fail(__FILE__, __LINE__, "it hangs");
}

static void on_crash(int signum) {
  signal(signum, SIG_DFL);
  chaos_fail(__FILE__, __LINE__, "signal %d", signum);
}

struct child {
  pid_t pid;
  uint64_t seed;
  int out; /* its hash comes here */
  char folder[32]; /* where its policies have their files */
};

static void remove_folder(const char *path) {
  DIR *folder = opendir(path);
  const struct dirent *entry;

  while (folder && (entry = readdir(folder)))
    if (*entry->d_name != '.') unlinkat(dirfd(folder), entry->d_name, 0);
  if (folder) closedir(folder);
  rmdir(path);
}

static struct child start(uint64_t seed, bool verbose) {
  struct child child = {.seed = seed, .folder = "/tmp/chaos.XXXXXX"};
  int ends[2];

  if (!mkdtemp(child.folder) || pipe(ends) < 0 || (child.pid = fork()) < 0) {
    perror("chaos");
    exit(EXIT_FAILURE);
  }
  child.out = ends[0];
  if (child.pid > 0) {
    close(ends[1]);
    return child;
  }
  close(ends[0]);
  if (chdir(child.folder) < 0) {
    perror("chaos");
    exit(EXIT_FAILURE);
  }
  uint64_t hash = run(seed, verbose);
  exit(write(ends[1], &hash, sizeof hash) == sizeof hash ? 0 : 1);
}

/* Returns whether all was well. */
static bool finish(const struct child *child, uint64_t *hash) {
  int status;

  bool told = read(child->out, hash, sizeof *hash) == sizeof *hash;
  close(child->out);
  waitpid(child->pid, &status, 0);
  remove_folder(child->folder);
  if (told && status == 0) return true;
  if (WIFSIGNALED(status))
    fprintf(stderr, "seed %llu: signal %d\n", (unsigned long long)child->seed,
            WTERMSIG(status));
  return false;
}

static bool is_well(uint64_t seed, bool verbose) {
  struct child child = start(seed, verbose);
  uint64_t hash, again;

  if (!finish(&child, &hash)) return false;
  if (seed % TWICE != 0) return true;
  child = start(seed, false);
  if (!finish(&child, &again)) return false;
  if (hash != again)
    fprintf(stderr, "seed %llu: two runs are not the same\n",
            (unsigned long long)seed);
  return hash == again;
}

/* Each processor takes every so many seeds. */
static int work(uint64_t from, uint64_t count, unsigned step, bool verbose) {
  int failed = 0;

  for (uint64_t seed = from; seed < from + count; seed += step) {
    if (is_well(seed, verbose)) continue;
    fprintf(stderr, "seed %llu failed: make chaos SEED=%llu\n",
            (unsigned long long)seed, (unsigned long long)seed);
    failed = 1;
  }
  return failed;
}

/* The order in which Lua visits a table depends on addresses. */
static void fix_addresses(char **argv) {
  int now = personality(0xffffffff);

  if (now < 0 || now & ADDR_NO_RANDOMIZE) return;
  if (personality((unsigned long)now | ADDR_NO_RANDOMIZE) < 0) return;
  execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  int failed = 0, status;

  fix_addresses(argv);
  if (argc < 5) {
    fprintf(stderr, "usage: chaos FOLDER LUA FROM COUNT [-v | FAULT]\n");
    return 2;
  }
  chaos_folder = realpath(argv[1], NULL);
  chaos_lua = realpath(argv[2], NULL);
  if (!chaos_folder || !chaos_lua) {
    perror("chaos");
    return 2;
  }
  uint64_t from = strtoull(argv[3], NULL, 10),
           count = strtoull(argv[4], NULL, 10);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGALRM, on_alarm);
  if (!getenv("ASAN_OPTIONS")) {
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
  }
  bool verbose = argc > 5 && !strcmp(argv[5], "-v");
  if (argc > 5 && !verbose) fault = (enum fault)atoi(argv[5]);
  if (count == 1) return work(from, 1, 1, verbose);
  for (long i = 0; i < processors; i++)
    if (fork() == 0)
      _exit(work(from + (uint64_t)i, count - (uint64_t)i, (unsigned)processors,
                 false));
  while (wait(&status) > 0) failed |= status != 0;
  if (!failed) printf("%llu fleets\n", (unsigned long long)count);
  return failed;
}
