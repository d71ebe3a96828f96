/* Private to src/cli: the options of all commands, as a table. */
#ifndef CLI_ITEMS_H
#define CLI_ITEMS_H

#include "parsed.h"

struct cli_item {
  const char *name, *argument, *preset; /* NULL: none */
  char letter;                          /* the short form, or 0 */
  unsigned commands;                    /* bits: 1 << enum cli_command */
  bool (*parse)(const char *text, void *at);
  size_t at;         /* in struct cli_options */
  const char *wants; /* the valid values, for messages */
  const char *text;
  /* Of a front, which is named as in Lua, instead of the above: whether a value
   * is right, and the range of numbers. */
  bool (*is_right)(const char *text, double least, double most);
  double least, most;
};

/* The bit of options that come before any command. */
enum { CLI_NO_COMMAND = 1 << CLI_COMMANDS };

/* There are not more than that. */
enum { CLI_ITEMS_MAX = 100 };

extern const struct cli_item cli_items[];
extern const int cli_item_count;

/* What servers are sorted by, ended by NULL. */
extern const char *const cli_sorts[];

/* The name of an option: "maxClients" is max-clients here. */
const char *cli_item_name(const struct cli_item *item);

/* Sets *level to the rover_host_level_t of that name; false if there is none. */
bool cli_item_level(const char *name, int *level);

/* Where `name` is in the list, or -1. */
int cli_index_of(const char *name, const char *const names[]);

/* Some of the functions that `is_right` may be. */
bool cli_is_number(const char *text, double least, double most);
bool cli_is_any(const char *text, double least, double most);
bool cli_is_list(const char *text, double least, double most);

#endif
