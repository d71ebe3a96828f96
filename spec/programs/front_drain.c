/* The promises of <callosum/front.h> about ending connections: drains, lowered
 * weights, closing. */
#include "fronts.h"

enum { MANY = 40 };

static int clients[MANY], servers[MANY];

/* Joins that client, whose backend then has spoken last. */
static int joined(int client) {
  say(client, "question");
  int server = accepted(backend);
  hear(server, "question");
  say(server, "answer");
  hear(client, "answer");
  return server;
}

static void come(int count) {
  for (int i = 0; i < count; i++) clients[i] = greeted_as(i);
}

/* How many see their end. */
static int ended(const int fds[], int count) {
  int total = 0;
  char byte;
  for (int i = 0; i < count; i++) {
    ssize_t n = recv(fds[i], &byte, 1, MSG_PEEK);
    total += n == 0 || (n < 0 && errno != EAGAIN);
  }
  return total;
}

static double since(uint64_t from) {
  return (double)(uv_hrtime() - from) / 1e6;
}

/* -- Drains --------------------------------------------------------------- */

static void refuses_newcomers(void) {
  begin((rover_front_options_t){0});
  come(2);
  EQUAL(0, rover_front_drain(front, ROVER_NEVER));
  EQUAL(1, rover_front_is_draining(front));
  EQUAL(0, gone(calling(front)));
  EQUAL(1, sound_front(front).refused);
  servers[0] = joined(clients[0]); /* it is still served */
  EQUAL(0, rover_front_resume(front));
  EQUAL(0, rover_front_is_draining(front));
  int fds[] = {clients[0], servers[0], clients[1], greeted_as(2)};
  settle();
  CHECK(is_open(clients[1]));
  end_all(fds, 4);
}

/* 40 over 800 ms: never ahead of the line by more than one. */
static void spreads(void) {
  enum { MS = 800 };
  begin((rover_front_options_t){0});
  come(MANY);
  uint64_t from = uv_hrtime();
  EQUAL(0, rover_front_drain(front, MS));
  for (int count = 0; count < MANY;) {
    int now = ended(clients, MANY);
    double due = since(from) * MANY / MS;
    CHECK(now <= due + 1);
    if (now > count) count = now;
    settle();
  }
  CHECK(since(from) >= MS - MS / 10.);
  EQUAL(0, not_connected(backend));
  UNTIL(sound_front(front).ending + sound_front(front).closed == MANY);
  for (int i = 0; i < MANY; i++) close(clients[i]);
  UNTIL(sound_front(front).open == 0);
  EQUAL(0, rover_front_resume(front));
  close(greeted_as(0));
  end();
}

/* Quiet ones end; those that wait for an answer, or have just had one, do
 * not, until the end. */
static void spares_requests(void) {
  enum { MS = 2000 }; /* ends are far apart, also on a busy machine */
  begin((rover_front_options_t){.quiet_time = 100});
  come(4);
  for (int i = 0; i < 3; i++) servers[i] = joined(clients[i]);
  say(clients[0], "another"); /* under way */
  hear(servers[0], "another");
  uint64_t from = uv_hrtime();
  EQUAL(0, rover_front_drain(front, MS));
  EQUAL(0, drained(clients[3])); /* unused: first */
  EQUAL(0, ended(clients, 3));
  EQUAL(0, drained(clients[1])); /* quiet for longest */
  EQUAL(0, drained(servers[1]));
  EQUAL(0, drained(clients[2]));
  EQUAL(0, drained(servers[2]));
  UNTIL(sound_front(front).drained == 2);
  CHECK(since(from) > 100 && is_open(clients[0]));
  say(servers[0], "its answer");
  hear(clients[0], "its answer");
  say(clients[0], "one more");
  hear(servers[0], "one more");
  UNTIL(is_reset(clients[0]));
  UNTIL(is_reset(servers[0]));
  CHECK(since(from) >= MS - 10);
  UNTIL(sound_front(front).cut == 1);
  UNTIL(sound_front(front).open == 0); /* those that did not end, too */
  for (int i = 0; i < 4; i++) close(clients[i]);
  for (int i = 0; i < 3; i++) close(servers[i]);
  end();
}

/* Under load, by clients that repeat on another connection what was reset or
 * ended unanswered: the backend sees each request once. */
static void loses_nothing(void) {
  enum { REQUESTS = 400 };
  int sent = 0, answered = 0, asked = 0, served = 0, count = 8, left = count;
  bool waits[8] = {false};
  char byte;
  begin((rover_front_options_t){.quiet_time = 1});
  come(count);
  for (int i = 0; i < count; i++) servers[i] = -1;
  uint64_t from = uv_hrtime();
  EQUAL(0, rover_front_drain(front, 400));
  while (sound_front(front).open > 0 || left > 0) {
    bool is_last = since(from) > 300, is_asking = false;
    for (int i = 0; i < count; i++) {
      if (clients[i] < 0) continue;
      if (!waits[i] && rand() % 3 == 0 && sent < REQUESTS && !is_last &&
          send(clients[i], "r", 1, MSG_NOSIGNAL) == 1) {
        waits[i] = true;
        sent++;
      }
      ssize_t n = recv(clients[i], &byte, 1, 0);
      if (n == 1) {
        answered++;
        waits[i] = false;
      } else if (n == 0 || errno != EAGAIN) {
        if (waits[i]) asked++; /* to be repeated elsewhere */
        waits[i] = false;
        close(clients[i]);
        clients[i] = -1;
        left--;
      }
    }
    for (int i = 0; i < count; i++) {
      if (servers[i] < 0)
        servers[i] = accept4(backend, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (servers[i] < 0) continue;
      ssize_t n = recv(servers[i], &byte, 1, 0);
      if (n == 1) {
        served++;
        say(servers[i], "a");
      }
    }
    for (int i = 0; i < count; i++) is_asking |= waits[i];
    /* Nobody is to be cut who waits, however busy the machine is. */
    if (is_last && is_asking) EQUAL(0, rover_front_drain(front, 100));
    settle();
  }
  EQUAL(sent, answered + asked);
  EQUAL(served, answered);
  for (int i = 0; i < count; i++)
    if (servers[i] >= 0) close(servers[i]);
  end();
}

static void behind_the_end(void) {
  begin((rover_front_options_t){.quiet_time = 1});
  come(1);
  servers[0] = joined(clients[0]);
  EQUAL(0, rover_front_drain(front, 1000));
  EQUAL(0, drained(clients[0]));
  UNTIL(sound_front(front).ending == 1);
  say(clients[0], "late");
  UNTIL(is_reset_behind_end(clients[0]));
  EQUAL(0, drained(servers[0])); /* not a byte of it */
  UNTIL(sound_front(front).open == 0);
  close(clients[0]);
  close(servers[0]);
  end();
}

/* The rest of an answer is lost if the backend pauses for quiet_time within it. */
static void pause_in_an_answer(void) {
  begin((rover_front_options_t){.quiet_time = 1});
  come(1);
  servers[0] = joined(clients[0]);
  EQUAL(0, rover_front_drain(front, 1000));
  EQUAL(0, drained(clients[0]));
  say(servers[0], ", and the rest of it");
  UNTIL(is_reset_behind_end(servers[0]));
  close(clients[0]);
  close(servers[0]);
  UNTIL(sound_front(front).open == 0);
  EQUAL(1, sound_front(front).drained);
  end();
}

/* What the backend sends at last is not lost. */
static void unread_at_the_end(void) {
  static char plenty[1 << 16];
  size_t sent = 0;
  begin((rover_front_options_t){.quiet_time = 200});
  come(1);
  servers[0] = joined(clients[0]);
  for (ssize_t n = 1, idle = 0; idle<5; idle = n> 0 ? 0 : idle + 1) {
    n = send(servers[0], plenty, sizeof plenty, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    settle();
  }
  EQUAL(0, rover_front_drain(front, 10000));
  settle();
  EQUAL(0, sound_front(front).ending); /* all is not given out */
  EQUAL(sent, drained(clients[0]));
  EQUAL(0, drained(servers[0]));
  close(clients[0]);
  close(servers[0]);
  UNTIL(sound_front(front).open == 0);
  EQUAL(0, sound_front(front).cut);
  end();
}

/* Once the backend's end is closed the client is told so, however long the loop
 * is busy: what it asked meanwhile would be lost. */
static void ends_without_the_loop(void) {
  enum { MS = 200 };
  rover_workers_options_t options = {.is_stepped = 1};
  rover_workers_t *others = workers;
  char byte;
  EQUAL(0, rover_workers_new(&workers, &options));
  begin((rover_front_options_t){.quiet_time = 1});
  come(1);
  say(clients[0], "q");
  servers[0] = accepted(backend);
  UNTIL((rover_workers_step(workers), recv(servers[0], &byte, 1, 0) == 1));
  say(servers[0], "a");
  UNTIL((rover_workers_step(workers), recv(clients[0], &byte, 1, 0) == 1));
  uint64_t from = uv_hrtime();
  EQUAL(0, rover_front_drain(front, MS));
  UNTIL(since(from) > MS / 2. + 20);
  EQUAL(0, ended(clients, 1) + ended(servers, 1));
  while (ended(servers, 1) == 0) rover_workers_step(workers);
  while (ended(clients, 1) == 0) CHECK(since(from) < 5000);
  close(clients[0]);
  close(servers[0]);
  UNTIL(sound_front(front).open == 0);
  EQUAL(1, sound_front(front).drained);
  EQUAL(0, rover_front_close(front, 0, on_front_closed));
  UNTIL((rover_workers_step(workers), fronts_closed == 1));
  close(backend);
  rover_workers_free(workers);
  workers = others;
}

/* -- Weights -------------------------------------------------------------- */

static void lowers_weight(void) {
  begin((rover_front_options_t){.quiet_time = 1, .drain_timeout = 200});
  come(8);
  for (int i = 0; i < 4; i++) servers[i] = joined(clients[i]);
  EQUAL(0, rover_front_set_weight(front, .25));
  EQUAL(0, rover_front_is_draining(front));
  UNTIL(ended(clients, 8) == 6);
  EQUAL(4, ended(clients + 4, 4)); /* unused first */
  /* On a busy machine the last may be left to the deadline. */
  UNTIL(sound_front(front).drained + sound_front(front).cut == 2);
  uint64_t from = uv_hrtime();
  UNTIL(since(from) > 250);
  EQUAL(6, ended(clients, 8));
  for (int i = 0; i < 4; i++) close(clients[i + 4]);
  UNTIL(sound_front(front).open <= 4);
  close(greeted_as(19)); /* index 4 */
  for (int i = 0; i < 4; i++) close(clients[i]);
  end_all(servers, 4);
}

static void lowers_weight_of_one(void) {
  begin((rover_front_options_t){.drain_timeout = 50});
  EQUAL(0, rover_front_set_weight(front, .5)); /* nor one that comes after */
  clients[0] = greeted_as(1);
  EQUAL(0, rover_front_set_weight(front, .25));
  uint64_t from = uv_hrtime();
  UNTIL(since(from) > 100);
  EQUAL(0, ended(clients, 1));
  end_all(clients, 1);
}

/* Whatever its slot is. */
static int greeted(void) {
  int fd = calling(front);
  for (char byte = 0; byte != '\n';) UNTIL(recv(fd, &byte, 1, 0) == 1);
  return fd;
}

/* Those that were there are busy, so half of them last to the end; it counts
 * neither those that come and stay nor those that come and go. */
static void lowers_weight_for_newcomers(void) {
  int newcomers[4], busy = 4;
  begin((rover_front_options_t){.quiet_time = 1, .drain_timeout = 300});
  come(busy);
  for (int i = 0; i < busy; i++) {
    servers[i] = joined(clients[i]);
    say(clients[i], "another");
    hear(servers[i], "another");
  }
  EQUAL(0, rover_front_set_weight(front, .5));
  close(greeted());
  UNTIL(sound_front(front).probes == 1);
  for (int i = 0; i < 4; i++) newcomers[i] = greeted();
  for (int i = 0; i < 2; i++) servers[busy + i] = joined(newcomers[i]);
  UNTIL(sound_front(front).cut == 2);
  uint64_t from = uv_hrtime();
  UNTIL(since(from) > 50);
  EQUAL(2, sound_front(front).cut);
  EQUAL(2, ended(clients, busy));
  EQUAL(0, ended(newcomers, 4));
  for (int i = 0; i < busy; i++) close(clients[i]);
  for (int i = 0; i < 4; i++) close(newcomers[i]);
  end_all(servers, busy + 2);
}

/* What is left follows from the first weight and the last, however soon one
 * follows the other. */
static void lowers_weight_in_steps(void) {
  static const double weights[][3] = {{.5, .25, 6}, {.25, .5, 4}};
  for (int i = 0; i < 2; i++) {
    begin((rover_front_options_t){.drain_timeout = 100});
    come(8);
    EQUAL(0, rover_front_set_weight(front, weights[i][0]));
    EQUAL(0, rover_front_set_weight(front, weights[i][1]));
    UNTIL(ended(clients, 8) >= (int)weights[i][2]);
    uint64_t from = uv_hrtime();
    UNTIL(since(from) > 150);
    EQUAL((int)weights[i][2], ended(clients, 8));
    end_all(clients, 8);
  }
}

static void raises_weight(void) {
  begin((rover_front_options_t){.drain_timeout = 400});
  come(4);
  EQUAL(0, rover_front_set_weight(front, .5));
  EQUAL(0, rover_front_set_weight(front, 2)); /* before any has ended */
  uint64_t from = uv_hrtime();
  UNTIL(since(from) > 450);
  EQUAL(0, ended(clients, 4));
  end_all(clients, 4);
}

/* -- Closing -------------------------------------------------------------- */

static void closes(void) {
  begin((rover_front_options_t){.quiet_time = 1});
  come(3);
  servers[0] = joined(clients[0]);
  servers[1] = joined(clients[1]);
  say(clients[0], "under way");
  hear(servers[0], "under way");
  EQUAL(0, rover_front_close(front, 3600000, on_front_closed));
  EQUAL(0, rover_front_is_listening(front));
  settle();
  EQUAL(0, fronts_closed);
  EQUAL(UV_EALREADY, rover_front_close(front, 1000, NULL));
  EQUAL(0, drained(clients[2]));
  EQUAL(0, drained(clients[1]));
  EQUAL(0, drained(servers[1]));
  say(servers[0], "answer");
  hear(clients[0], "answer");
  close(clients[1]);
  close(clients[2]);
  UNTIL(fronts_closed == 1);
  close(backend);
  int fds[] = {clients[0], servers[0], servers[1]};
  for (int i = 0; i < 3; i++) close(fds[i]);
}

static void waits_for_ever(void) {
  begin((rover_front_options_t){.quiet_time = 1});
  come(2);
  servers[0] = joined(clients[0]);
  EQUAL(0, rover_front_close(front, ROVER_NEVER, on_front_closed));
  uint64_t from = uv_hrtime();
  UNTIL(since(from) > 100);
  EQUAL(0, ended(clients, 2));
  close(clients[0]);
  close(clients[1]);
  EQUAL(0, drained(servers[0]));
  close(servers[0]);
  UNTIL(fronts_closed == 1);
  close(backend);
}

static void closes_at_once(void) {
  begin((rover_front_options_t){.connect_timeout = 60000});
  CHECK(listen(backend, 0) == 0);
  come(6);
  for (int i = 0; i < 4; i++) say(clients[i], "x"); /* some connect */
  settle();
  EQUAL(6, sound_front(front).open);
  close_front(front, 0);
  EQUAL(6, ended(clients, 6));
  close(backend);
  for (int i = 0; i < 6; i++) close(clients[i]);
}

const struct check checks[] = {
    {"rover_front_drain()", "refuses newcomers until rover_front_resume()",
     refuses_newcomers},
    {"a drain", "ends unused ones, evenly spread", spreads},
    {"a drain", "ends quiet ones, and resets the rest at its end",
     spares_requests},
    {"a drain", "loses no request, and none is answered twice", loses_nothing},
    {"a drain", "keeps what is sent behind our end from the backend",
     behind_the_end},
    {"a drain", "waits for what is yet to be given out", unread_at_the_end},
    {"a drain", "takes a pause of quiet_time for the end of an answer",
     pause_in_an_answer},
    {"a drain", "ends both sides while the loop is busy",
     ends_without_the_loop},
    {"a lowered weight", "ends the surplus", lowers_weight},
    {"a lowered weight", "does not end the only connection",
     lowers_weight_of_one},
    {"a lowered weight", "ends nobody who comes after it",
     lowers_weight_for_newcomers},
    {"a lowered weight", "leaves as many, in one step or in several",
     lowers_weight_in_steps},
    {"a raised weight", "ends nobody, and what a lowered one had begun",
     raises_weight},
    {"rover_front_close()", "drains, by the earlier deadline", closes},
    {"rover_front_close()", "waits for those who end by themselves",
     waits_for_ever},
    {"rover_front_close()", "closes at once, whatever is under way",
     closes_at_once},
    {NULL, NULL, NULL}};
