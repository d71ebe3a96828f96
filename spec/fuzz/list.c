/* Lists of servers, as JSON and as text: what is understood can be written, and
 * is then the same; what is not says why.
 *
 * Input: a byte that says whether servers have a port; then the text. */
#include "discover/list.h"
#include "fuzz.h"

#include <ctype.h>

static struct discover__list *parse(const void *bytes, size_t length,
                                    int port) {
  struct discover__list *list = NULL;
  char message[256] = "";
  /* Of a copy that ends where its memory does, so that reading on is noticed. */
  char *copy = malloc(length ? length : 1);

  check(copy);
  memcpy(copy, bytes, length);
  int err =
      discover__list_parse(&list, copy, length, port, message, sizeof message);
  free(copy);
  check((err == 0) == (list != NULL));
  check((err < 0) == (*message != '\0'));
  for (const char *at = message; *at; at++)
    check(!iscntrl((unsigned char)*at));
  return list;
}

static void compare(const struct discover__list *one,
                    const struct discover__list *other) {
  check(one->count == other->count && other->invalid == 0);
  for (size_t i = 0; i < one->count; i++) {
    check(!strcmp(one->entries[i].host, other->entries[i].host));
    check(one->entries[i].port == other->entries[i].port);
    check(one->entries[i].weight == other->entries[i].weight);
  }
}

/* As a cache is written. */
static void write_again(const struct discover__list *list) {
  enum { ROOM = DISCOVER__ID_SIZE + 16 };
  char *text = malloc(list->count * ROOM + 1);
  size_t used = 0;

  check(text);
  for (size_t i = 0; i < list->count; i++) {
    const struct discover__entry *e = &list->entries[i];
    char id[DISCOVER__ID_SIZE];
    check(e->port >= 1 && e->port <= 65535 && *e->host);
    check(discover__list_id(id, e->host, e->port));
    used += (size_t)snprintf(text + used, ROOM, "%s %u\n", id, e->weight);
  }
  struct discover__list *again = list->count ? parse(text, used, 0) : NULL;
  if (list->count) check(again);
  if (again) compare(list, again);
  free(again);
  free(text);
  check(discover__list_new(&again, list->entries, list->count) == 0);
  compare(list, again);
  free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  int port = take_byte(&in) & 1 ? 4040 : 0;
  struct discover__list *list = parse(in.bytes, in.left, port);

  if (list) write_again(list);
  free(list);
  return 0;
}
