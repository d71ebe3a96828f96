#include "config.h"

#include <stdlib.h>
#include <string.h>

static size_t size_of(const char *text) { return text ? strlen(text) + 1 : 0; }

/* Copies the text to *end, which it moves behind it. */
static const char *put(char **end, const char *text) {
  size_t size = size_of(text);
  if (!text) return NULL;
  const char *copy = memcpy(*end, text, size);
  *end += size;
  return copy;
}

size_t discover__config_shown(const char *url) { return strcspn(url, "?#"); }

int discover__config_new(struct discover__config **out,
                         const struct discover__kind *kind,
                         const rover_source_options_t *options,
                         const struct discover__setting settings[],
                         size_t count) {
  const char *place = count > 0 ? settings[0].value : "";
  size_t text = size_of(options->cache) + size_of(place);
  for (size_t i = 0; i < count; i++)
    text += size_of(settings[i].key) + size_of(settings[i].value);

  struct discover__config *config =
      malloc(sizeof *config + count * sizeof *config->settings + text);
  if (!config) return UV_ENOMEM;
  char *end = (char *)&config->settings[count];
  config->refs = 1;
  config->kind = kind;
  config->options = *options;
  config->options.cache = put(&end, options->cache);
  size_t shown = count > 0 && !strcmp(settings[0].key, "url")
                     ? discover__config_shown(place)
                     : strlen(place);
  config->place = end;
  memcpy(end, place, shown);
  end[shown] = '\0';
  end += shown + 1;
  config->count = count;
  for (size_t i = 0; i < count; i++) {
    config->settings[i].key = put(&end, settings[i].key);
    config->settings[i].value = put(&end, settings[i].value);
  }
  *out = config;
  return 0;
}

struct discover__config *discover__config_ref(struct discover__config *config) {
  config->refs++;
  return config;
}

void discover__config_unref(struct discover__config *config) {
  if (config && --config->refs == 0) free(config);
}

const char *discover__config_get(const struct discover__config *config,
                                 const char *key) {
  for (size_t i = 0; i < config->count; i++)
    if (!strcmp(config->settings[i].key, key)) return config->settings[i].value;
  return NULL;
}

static bool is_manner(const char *key) {
  return !strcmp(key, "headers") || !strcmp(key, "tokenFile") ||
         !strncmp(key, "tls.", 4);
}

/* The next from *index on, which is moved behind it; NULL: there is none. */
static const struct discover__setting *next(const struct discover__config *config,
                                            size_t *index, bool with_manner) {
  while (*index < config->count) {
    const struct discover__setting *setting = &config->settings[(*index)++];
    if (with_manner || !is_manner(setting->key)) return setting;
  }
  return NULL;
}

static bool same(const struct discover__config *one,
                 const struct discover__config *other, bool with_manner) {
  size_t i = 0, j = 0;

  if (one->kind != other->kind || one->options.port != other->options.port ||
      one->options.family != other->options.family)
    return false;
  for (;;) {
    const struct discover__setting *a = next(one, &i, with_manner);
    const struct discover__setting *b = next(other, &j, with_manner);
    if (!a || !b) return a == b;
    if (strcmp(a->key, b->key) != 0 || strcmp(a->value, b->value) != 0)
      return false;
  }
}

bool discover__config_same_place(const struct discover__config *one,
                                 const struct discover__config *other) {
  return same(one, other, false);
}

bool discover__config_same(const struct discover__config *one,
                           const struct discover__config *other) {
  return same(one, other, true);
}
