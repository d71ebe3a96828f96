/* Tables of what others have named: names that were chosen to come to one place
 * cost no more than others. They are found here, for the hashes that these tables
 * had before theirs had a key. */
#include "check.h"

#include "discover/groups.h"
#include "discover/reconcile.h"
#include "front/addresses.h"
#include "net/hash.h"
#include "rover/base.h"

#include <time.h>
#include <uthash.h>

enum { COUNT = 20000, TIMES = 10 };

typedef char names_t[COUNT][24];

/* The reference implementation's. */
static void vectors(void) {
  static const struct {
    const char *text;
    uint64_t hash;
  } cases[] = {
      {"", UINT64_C(0x42bc986dc5eec4d3)},
      {"a", UINT64_C(0x84508dc903c31551)},
      {"abc", UINT64_C(0x0bc54887cfc9ecb1)},
      {"message digest", UINT64_C(0x6e2ff3298208a67c)},
      {"abcdefghijklmnopqrstuvwxyz", UINT64_C(0x9a64e42e897195b9)},
      {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
       UINT64_C(0x9199383239c32554)},
      {"1234567890123456789012345678901234567890"
       "1234567890123456789012345678901234567890",
       UINT64_C(0x7c1ccf6bba30f5a5)}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    /* The first word is the one with the seed, here i. */
    const struct net__hash_key key = {
        {UINT64_C(0xa0761d6478bd642f) ^ i, UINT64_C(0xe7037ed1a0b428db),
         UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3)}};
    snprintf(doing, sizeof doing, "\"%s\"", cases[i].text);
    CHECK(net__hash_64(&key, cases[i].text, strlen(cases[i].text)) ==
          cases[i].hash);
  }
}

/* -- What it takes -------------------------------------------------------- */

static uint64_t cpu(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t taken(void (*fill)(names_t names), names_t names) {
  uint64_t before = cpu();
  fill(names);
  return cpu() - before;
}

static void compare(void (*fill)(names_t names), names_t crafted) {
  static names_t plain;
  for (int i = 0; i < COUNT; i++) sprintf(plain[i], "h%07x:4040", i);
  uint64_t usual = taken(fill, plain), much = taken(fill, crafted);
  if (much > TIMES * usual)
    failed(__FILE__, __LINE__, "%.1f ms instead of %.1f", (double)much / 1e6,
           (double)usual / 1e6);
}

/* -- Ids ------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ hash >> 32;
}

/* The second word undoes what the first has made of the hash. */
static void craft_ids(names_t names) {
  for (int made = 0, i = 0; made < COUNT; i++) {
    char *name = names[made];
    uint64_t word;
    sprintf(name, "%08x", i);
    memcpy(&word, name, sizeof word);
    word = mix(16, word) ^ UINT64_C(0x5555555555555555);
    memcpy(name + 8, &word, sizeof word);
    name[16] = '\0';
    made += strlen(name) == 16;
  }
}

static void on_closed(rover_t *rover) { *(bool *)rover_data(rover) = true; }

static rover_t *rover_of(names_t names, bool *closed) {
  rover_options_t options = {.data = closed};
  rover_t *rover;
  EQUAL(0, rover_new(&rover, loop, &options));
  for (int i = 0; i < COUNT; i++)
    EQUAL(0, rover_server_add(rover, names[i], "127.0.0.1", 1));
  return rover;
}

static void end(rover_t *rover, const bool *closed) {
  EQUAL(0, rover_close(rover, on_closed));
  UNTIL(*closed);
}

static bool are_alike(const struct net__hash_key *one,
                      const struct net__hash_key *other) {
  return memcmp(one, other, sizeof *one) == 0;
}

static void keys(void) {
  static const struct net__hash_key none;
  rover_options_t options = {.seed = 1};
  rover_t *rovers[2];
  for (int i = 0; i < 2; i++) EQUAL(0, rover_new(&rovers[i], loop, &options));
  const struct net__hash_key *one = &rovers[0]->servers.by_id.key;
  CHECK(!are_alike(one, &rovers[1]->servers.by_id.key));
  CHECK(!are_alike(one, &none) && !are_alike(&rovers[0]->tally_key, &none));
  for (int i = 0; i < 2; i++) EQUAL(0, rover_close(rovers[i], NULL));
}

static void fill_ids(names_t names) {
  bool closed = false;
  rover_t *rover = rover_of(names, &closed);
  EQUAL(COUNT, rover_server_count(rover));
  end(rover, &closed);
}

static void ids(void) {
  static names_t crafted;
  craft_ids(crafted);
  compare(fill_ids, crafted);
}

/* -- uthash's ------------------------------------------------------------- */

/* It stops adding buckets once most items are in few of them. */
static bool is_alike(const void *bytes, size_t length) {
  unsigned hash;
  HASH_JEN(bytes, length, hash);
  return hash % 128 == 0;
}

static void craft_names(names_t names) {
  for (int made = 0, i = 0; made < COUNT; i++) {
    sprintf(names[made], "h%07x:4040", i);
    made += is_alike(names[made], strlen(names[made]));
  }
}

static void fill_tallies(names_t names) {
  bool closed = false;
  rover_t *rover = rover_of(names, &closed);
  for (int i = 0; i < COUNT; i++)
    EQUAL(1, rover_server_steer(rover, names[i], ROVER_STEER_PAUSE, 0));
  for (int i = 0; i < COUNT; i++) /* elsewhere now, and paused all the same */
    EQUAL(0, rover_server_add(rover, names[i], "127.0.0.1", 2));
  end(rover, &closed);
}

static void tallies(void) {
  static names_t crafted;
  craft_names(crafted);
  compare(fill_tallies, crafted);
}

static void fill_groups(names_t names) {
  const struct discover__entry entry = {.host = "h", .port = 1};
  struct discover__groups groups = {0};
  for (int i = 0; i < COUNT; i++)
    EQUAL(0, discover__groups_set(&groups, names[i], &entry, 1));
  EQUAL(COUNT, groups.count);
  discover__groups_clear(&groups);
}

static void groups(void) {
  static names_t crafted;
  craft_names(crafted);
  compare(fill_groups, crafted);
}

static bool is_done, is_closed;

static void on_changed(struct discover__table *table, const char *const added[],
                       size_t added_count, const char *const dropped[],
                       size_t dropped_count) {
  (void)table, (void)added, (void)added_count, (void)dropped,
      (void)dropped_count;
}

static bool doubts(struct discover__table *table) {
  (void)table;
  return false;
}

static void on_done(struct discover__table *table, struct discover__list *list,
                    bool different) {
  CHECK(different);
  EQUAL(COUNT, table->listed);
  free(list);
  is_done = true;
}

static void on_starved(struct discover__table *table) {
  (void)table;
  failed(__FILE__, __LINE__, "no memory");
}

static void on_table_closed(struct discover__table *table) {
  (void)table;
  is_closed = true;
}

static void fill_source(names_t names) {
  static const struct discover__table_events events = {
      on_changed, doubts, doubts, on_done, on_starved, on_table_closed};
  static struct discover__entry entries[COUNT];
  struct discover__table table;
  struct discover__list *list;
  for (int i = 0; i < COUNT; i++) {
    names[i][8] = '\0';
    entries[i] = (struct discover__entry){.host = names[i], .port = 4040};
  }
  EQUAL(0, discover__list_new(&list, entries, COUNT));
  EQUAL(0, discover__table_init(&table, loop, &events, NULL));
  is_done = is_closed = false;
  discover__table_take(&table, list);
  while (!is_done) uv_run(loop, UV_RUN_NOWAIT);
  discover__table_close(&table);
  UNTIL(is_closed);
}

static void source(void) {
  static names_t crafted;
  craft_names(crafted);
  compare(fill_source, crafted);
}

/* -- Addresses ------------------------------------------------------------ */

static void fill_addresses(names_t names) {
  struct front__addresses addresses = {0};
  struct sockaddr_in6 name = {.sin6_family = AF_INET6};
  EQUAL(0, net__hash_key_draw(&addresses.key));
  for (int i = 0; i < COUNT; i++) {
    memcpy(&name.sin6_addr, names[i], sizeof name.sin6_addr);
    CHECK(front__addresses_add(&addresses, (struct sockaddr *)&name, 1));
  }
  front__addresses_clear(&addresses);
}

static void addresses(void) {
  static names_t crafted;
  for (int made = 0, i = 0; made < COUNT; i++) {
    memcpy(crafted[made], &i, sizeof i);
    made += is_alike(crafted[made], sizeof(struct in6_addr));
  }
  compare(fill_addresses, crafted);
}

const struct check checks[] = {
    {"net__hash_64", "is wyhash", vectors},
    {"rover_new", "draws a key, though it has a seed", keys},
    {"rover_server_add", "takes ids that were chosen to hash alike", ids},
    {"rover_server_steer", "takes ids that were chosen to hash alike", tallies},
    {"discover__table_take", "takes servers that were chosen to hash alike",
     source},
    {"discover__groups_set", "takes keys that were chosen to hash alike",
     groups},
    {"front__addresses_add", "takes addresses that were chosen to hash alike",
     addresses},
    {NULL, NULL, NULL}};
