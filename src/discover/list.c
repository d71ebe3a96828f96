#include "list.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum {
  BYTES_MAX = 32 << 20,
  DEPTH_MAX = 16, /* of JSON; ours has four levels, and labels may have more */
  ZONE_MAX = 16,  /* with the % */
  SHOWN_MAX = 64
};

/* -- Hosts ---------------------------------------------------------------- */

static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

/* "%eth0", or nothing; it is also written to texts. */
static bool is_zone(const char *text) {
  size_t length = strlen(text);

  if (length == 0) return true;
  return length > 1 && length <= ZONE_MAX &&
         strspn(text + 1, allowed) == length - 1;
}

/* Writes the canonical form of an address, whose zone stays as it is. */
static bool write_address(char out[ROVER_HOST_MAX + 1], const char *host) {
  unsigned char bytes[16];
  char address[INET6_ADDRSTRLEN];
  size_t length = strcspn(host, "%");

  if (uv_inet_pton(AF_INET, host, bytes) == 0)
    return uv_inet_ntop(AF_INET, bytes, out, ROVER_HOST_MAX + 1) == 0;
  if (length >= sizeof address || !is_zone(host + length)) return false;
  memcpy(address, host, length);
  address[length] = '\0';
  if (uv_inet_pton(AF_INET6, address, bytes) < 0) return false;
  uv_inet_ntop(AF_INET6, bytes, out, ROVER_HOST_MAX + 1);
  strcat(out, host + length);
  return true;
}

static bool write_name(char out[ROVER_HOST_MAX + 1], const char *host) {
  const char *lower = allowed, *upper = allowed + 26;
  size_t length = strlen(host);

  if (length > 0 && host[length - 1] == '.') length--;
  if (length == 0 || length > ROVER_HOST_MAX || host[0] == '.' ||
      strspn(host, allowed) < length)
    return false;
  /* A name whose last label is a number is a misspelled address. */
  size_t last = length;
  while (last > 0 && host[last - 1] != '.') last--;
  if (strspn(host + last, "0123456789") == length - last) return false;
  for (size_t i = 0; i < length; i++) {
    out[i] = host[i];
    if (host[i] >= 'A' && host[i] <= 'Z')
      out[i] = lower[strchr(upper, host[i]) - upper];
  }
  out[length] = '\0';
  return true;
}

bool discover__list_id(char id[DISCOVER__ID_SIZE], const char *host, int port) {
  int length = snprintf(id, DISCOVER__ID_SIZE,
                        strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
  return length > 0 && length <= ROVER_ID_MAX;
}

/* Writes the host in its canonical form; returns false if it is none. */
static bool is_valid(char out[ROVER_HOST_MAX + 1], const char *host, int port) {
  char id[DISCOVER__ID_SIZE];
  return host && port >= 1 && port <= 65535 &&
         (write_address(out, host) || write_name(out, host)) &&
         discover__list_id(id, out, port);
}

/* -- Growing -------------------------------------------------------------- */

/* A list that is being made: the hosts are offsets in `text` until it is
 * done. */
struct making {
  struct place {
    size_t host;
    int port;
    unsigned weight;
  } *places;
  size_t count, capacity;
  char *text;
  size_t used, room;
  size_t invalid;
};

static void forget(struct making *m) {
  free(m->places);
  free(m->text);
}

static int grow(struct making *m, size_t length) {
  if (m->count == m->capacity) {
    size_t capacity = m->capacity ? m->capacity * 2 : 64;
    void *places = realloc(m->places, capacity * sizeof *m->places);
    if (!places) return UV_ENOMEM;
    m->places = places;
    m->capacity = capacity;
  }
  if (m->used + length > m->room) {
    size_t room = m->room * 2 + length + 1024;
    char *text = realloc(m->text, room);
    if (!text) return UV_ENOMEM;
    m->text = text;
    m->room = room;
  }
  return 0;
}

/* Returns 1, or 0 if it is not valid. */
static int add(struct making *m, const char *host, int port, unsigned weight) {
  char canonical[ROVER_HOST_MAX + 1];

  if (!is_valid(canonical, host, port)) return 0;
  if (m->count == ROVER_SOURCE_SERVERS_MAX) return UV_E2BIG;
  size_t length = strlen(canonical) + 1;
  int err = grow(m, length);
  if (err < 0) return err;
  memcpy(m->text + m->used, canonical, length);
  m->places[m->count++] = (struct place){m->used, port, weight};
  m->used += length;
  return 1;
}

/* Makes one block of it. */
static int finish(struct making *m, struct discover__list **out) {
  struct discover__list *list =
      malloc(sizeof *list + m->count * sizeof *list->entries + m->used);
  if (list) {
    char *text = (char *)&list->entries[m->count];
    if (m->used > 0) memcpy(text, m->text, m->used);
    *list = (struct discover__list){.count = m->count, .invalid = m->invalid};
    for (size_t i = 0; i < m->count; i++)
      list->entries[i] = (struct discover__entry){
          text + m->places[i].host, m->places[i].port, m->places[i].weight};
    *out = list;
  }
  forget(m);
  return list ? 0 : UV_ENOMEM;
}

int discover__list_new(struct discover__list **out,
                       const struct discover__entry *entries, size_t count) {
  struct making m = {0};

  for (size_t i = 0; i < count; i++) {
    const struct discover__entry *e = &entries[i];
    int made = add(&m, e->host, e->port, e->weight);
    if (made < 0) {
      forget(&m);
      return made;
    }
    m.invalid += made == 0;
  }
  return finish(&m, out);
}

/* -- A server as text ----------------------------------------------------- */

static void make_printable(char *text) {
  for (; *text; text++)
    if (*text < ' ' || *text > '~') *text = '?';
}

static void show(char out[SHOWN_MAX + 4], const char *text, size_t length) {
  bool cut = length > SHOWN_MAX;

  snprintf(out, SHOWN_MAX + 4, "%.*s%s", cut ? SHOWN_MAX : (int)length, text,
           cut ? "..." : "");
  make_printable(out);
}

/* Reads digits only, up to `most`; returns -1 otherwise. */
static int64_t read_number(const char *text, size_t length, int64_t most) {
  int64_t value = 0;

  if (length == 0) return -1;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
    if (value > most) return -1;
  }
  return value;
}

/* Adds `host:port`, `[host]:port`, or one without a port. Returns as add(). */
static int add_text(struct making *m, const char *text, size_t length,
                    int port, unsigned weight) {
  char host[ROVER_HOST_MAX + 2];
  const char *end = text + length, *colon = NULL, *from = text, *to = end;

  for (const char *at = text; at < end; at++)
    if (*at == ':') colon = at;
  bool is_bare = colon && memchr(text, ':', (size_t)(colon - text)) &&
                 text[0] != '[';
  if (length > 0 && text[0] == '[') {
    const char *close = memchr(text, ']', length);
    if (!close || (close + 1 < end && close[1] != ':')) return 0;
    from = text + 1;
    to = close;
    colon = close + 1 < end ? close + 1 : NULL;
  } else if (colon && !is_bare) {
    to = colon;
  } else {
    colon = NULL;
  }
  if (colon) port = (int)read_number(colon + 1, (size_t)(end - colon - 1), 65535);
  size_t size = (size_t)(to - from);
  if (size >= sizeof host || memchr(from, '\0', size)) return 0;
  memcpy(host, from, size);
  host[size] = '\0';
  return add(m, host, port, weight);
}

/* What add() has returned. */
static int judge(int made, const char *text, size_t length, const char *where,
                 char *message, size_t size) {
  char shown[SHOWN_MAX + 4];

  if (made > 0) return 0;
  show(shown, text, length);
  if (made == 0) {
    snprintf(message, size, "%s: 'host:port' expected, got '%s'", where, shown);
    return UV_EPROTO;
  }
  if (made == UV_E2BIG)
    snprintf(message, size, "more than %d servers", ROVER_SOURCE_SERVERS_MAX);
  else
    snprintf(message, size, "out of memory");
  return made;
}

/* -- Plain ---------------------------------------------------------------- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static int parse_line(struct making *m, const char *line, size_t length,
                      int port, size_t number, char *message, size_t size) {
  const char *hash = memchr(line, '#', length);
  const char *end = hash ? hash : line + length, *word = line;
  char where[32];

  while (word < end && is_blank(*word)) word++;
  while (end > word && is_blank(end[-1])) end--;
  if (word == end) return 0;
  const char *after = word, *more;
  while (after < end && !is_blank(*after)) after++;
  for (more = after; more < end && is_blank(*more);) more++;
  int64_t weight =
      more < end ? read_number(more, (size_t)(end - more), UINT32_MAX) : 0;
  int made = weight < 0 ? 0
                        : add_text(m, word, (size_t)(after - word), port,
                                   (unsigned)weight);
  snprintf(where, sizeof where, "line %zu", number);
  return judge(made, word, (size_t)(end - word), where, message, size);
}

static int parse_plain(struct making *m, const char *bytes, size_t length,
                       int port, char *message, size_t size) {
  const char *end = bytes + length;

  for (size_t number = 1; bytes < end; number++) {
    const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
    const char *stop = newline ? newline : end;
    int err = parse_line(m, bytes, (size_t)(stop - bytes), port, number,
                         message, size);
    if (err < 0) return err;
    bytes = newline ? newline + 1 : end;
  }
  return 0;
}

/* -- JSON ----------------------------------------------------------------- */

static int wrong(char *message, size_t size, size_t group, const char *what) {
  snprintf(message, size, "group %zu: %s", group + 1, what);
  return UV_EPROTO;
}

/* The label `weight`, a string as all labels, or else a number. */
static bool read_weight(const json_t *labels, unsigned *weight) {
  const json_t *label = json_object_get(labels, "weight");
  int64_t value = -1;

  *weight = 0;
  if (!label) return true;
  if (json_is_string(label))
    value = read_number(json_string_value(label), json_string_length(label),
                        UINT32_MAX);
  else if (json_is_integer(label))
    value = json_integer_value(label);
  if (value < 0 || value > UINT32_MAX) return false;
  *weight = (unsigned)value;
  return true;
}

static int read_group(struct making *m, const json_t *group, size_t index,
                      int port, char *message, size_t size) {
  const json_t *targets = json_object_get(group, "targets"), *target;
  const json_t *labels = json_object_get(group, "labels");
  char where[64];
  size_t i;
  unsigned weight;

  if (!json_is_object(group))
    return wrong(message, size, index, "an object expected");
  if (!json_is_array(targets))
    return wrong(message, size, index, "targets: an array expected");
  if (labels && !json_is_object(labels))
    return wrong(message, size, index, "labels: an object expected");
  if (!read_weight(labels, &weight))
    return wrong(message, size, index,
                 "labels: weight: a whole number from 0 to 4294967295 expected");
  json_array_foreach(targets, i, target) {
    if (!json_is_string(target))
      return wrong(message, size, index, "targets: strings expected");
    const char *text = json_string_value(target);
    size_t length = json_string_length(target);
    int made = add_text(m, text, length, port, weight);
    if (made > 0) continue;
    snprintf(where, sizeof where, "group %zu: target %zu", index + 1, i + 1);
    return judge(made, text, length, where, message, size);
  }
  return 0;
}

static int parse_json(struct making *m, const char *bytes, size_t length,
                      int port, char *message, size_t size) {
  json_error_t error;
  json_t *groups, *group;
  size_t i;
  int err = 0;

  if (!discover__json_fits(bytes, length, DEPTH_MAX)) {
    snprintf(message, size, "JSON of more than %d levels or %d values",
             DEPTH_MAX, (int)DISCOVER__JSON_VALUES_MAX);
    return UV_EPROTO;
  }
  groups = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &error);
  if (!groups && json_error_code(&error) == json_error_out_of_memory) {
    snprintf(message, size, "out of memory");
    return UV_ENOMEM;
  }
  if (!groups) {
    make_printable(error.text); /* it quotes what is wrong */
    snprintf(message, size, "wrong JSON in line %d: %s", error.line, error.text);
    return UV_EPROTO;
  }
  if (!json_is_array(groups)) {
    snprintf(message, size, "JSON: an array of groups of targets expected");
    err = UV_EPROTO;
  }
  json_array_foreach(groups, i, group) {
    if (err < 0) break;
    err = read_group(m, group, i, port, message, size);
  }
  json_decref(groups);
  return err;
}

/* A file that is being written may be empty, and so may one whose writer has
 * failed: that says nothing about servers. */
static bool is_blank_text(const char *bytes, size_t length) {
  size_t i = 0;
  while (i < length && (is_blank(bytes[i]) || bytes[i] == '\n')) i++;
  return i == length;
}

/* A plain list may begin with an IPv6 address in brackets. */
static bool is_json(const char *bytes, size_t length) {
  static const char blanks[] = " \t\r\n";
  size_t i = 0;

  while (i < length && bytes[i] && strchr(blanks, bytes[i])) i++;
  if (i == length || bytes[i] == '{') return i < length;
  if (bytes[i++] != '[') return false;
  while (i < length && bytes[i] && strchr(blanks, bytes[i])) i++;
  return i < length && bytes[i] && strchr("{]\"[", bytes[i]);
}

int discover__list_parse(struct discover__list **list, const char *bytes,
                         size_t length, int port, char *message, size_t size) {
  struct making m = {0};
  int err;

  if (is_blank_text(bytes, length)) {
    snprintf(message, size, "empty");
    return UV_EPROTO;
  }
  if (length > BYTES_MAX) {
    snprintf(message, size, "more than %d MiB", BYTES_MAX >> 20);
    return UV_E2BIG;
  }
  err = is_json(bytes, length)
            ? parse_json(&m, bytes, length, port, message, size)
            : parse_plain(&m, bytes, length, port, message, size);
  if (err == 0) {
    err = finish(&m, list);
    if (err < 0) snprintf(message, size, "out of memory");
    return err;
  }
  forget(&m);
  return err;
}
