#include "items.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One table has all options: what is parsed, what --help prints and, read from
 * that, what the shell completes. Defaults are parsed as if they were given. The
 * options of a front are those of front.new(): the engine's by its own table.
 * They are only checked here, and given to the script of `callosum-rover front`
 * as NAME=VALUE. */

int cli_index_of(const char *name, const char *const names[]) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(name, names[i])) return i;
  return -1;
}

const char *const cli_sorts[] = {"connections", "id",          "share",
                                 "slot",        "unreachable", NULL};

/* -- Values: each is parsed into `at`, or false is returned ---------------- */

static bool is_flag(const char *text, void *at) {
  (void)text;
  *(int *)at = 1;
  return true;
}

static bool is_text(const char *text, void *at) {
  *(const char **)at = text;
  return true;
}

/* Adds it to a list that has room. */
static bool is_listed(const char *text, void *at) {
  const char **list = *(const char ***)at;
  while (*list) list++;
  *list = text;
  return *text != '\0';
}

static bool is_seconds(const char *text, void *at) {
  char *end;
  double seconds = strtod(text, &end);
  if (*end || end == text || !(seconds > 0 && seconds <= 1e9)) return false;
  *(double *)at = seconds;
  return true;
}

static bool is_ms(const char *text, void *at) {
  char *end;
  unsigned long ms = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || ms == 0 || ms > 1000000000)
    return false;
  *(unsigned *)at = (unsigned)ms;
  return true;
}

static bool is_count(const char *text, void *at) {
  char *end;
  unsigned long count = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || count > 1000000000)
    return false;
  *(unsigned *)at = (unsigned)count;
  return true;
}

static bool is_threads(const char *text, void *at) {
  return is_count(text, at) && *(unsigned *)at <= ROVER_WORKERS_MAX;
}

static bool is_size(const char *text, void *at) {
  static const char units[] = "KMG";
  char *end;
  unsigned long long size = strtoull(text, &end, 10);
  const char *unit = *end ? strchr(units, *end) : NULL;
  int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  if (unit) end++;
  if (!isdigit((unsigned char)*text) || *end || size == 0 ||
      size > (SIZE_MAX / 2) >> shift)
    return false;
  *(size_t *)at = (size_t)size << shift;
  return true;
}

static bool is_mode(const char *text, void *at) {
  char *end;
  unsigned long mode = strtoul(text, &end, 8);
  if (!isdigit((unsigned char)*text) || *end || mode == 0 || mode > 0777)
    return false;
  *(int *)at = (int)mode;
  return true;
}

#define LEVELS "debug, info, warn or error"
bool cli_item_level(const char *name, int *level) {
  static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
  *level = cli_index_of(name, levels);
  return *level >= 0;
}

static bool is_level(const char *text, void *at) {
  return cli_item_level(text, at);
}

#define FORMATS "text or json"
static bool is_format(const char *text, void *at) {
  *(bool *)at = !strcmp(text, "json");
  return *(bool *)at || !strcmp(text, "text");
}

/* -- Values of a front: whether they are right ----------------------------- */

static bool is_integer(const char *text, double least, double most) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  return isdigit((unsigned char)*text) && !*end && (double)value >= least &&
         (double)value <= most;
}

bool cli_is_number(const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  return isdigit((unsigned char)*text) && !*end && value >= least &&
         value <= most;
}

bool cli_is_any(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return *text != '\0';
}

/* At least one, with commas or blanks between them. */
bool cli_is_list(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return text[strspn(text, ", \t\n")] != '\0';
}

/* When a connection is joined. */
#define WHENS "data, kept or slot"
static bool is_when(const char *text, double least, double most) {
  static const char *const whens[] = {"data", "kept", "slot", NULL};
  (void)least;
  (void)most;
  return cli_index_of(text, whens) >= 0;
}

#define VERSIONS "v1 or v2"
static bool is_version(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return !strcmp(text, "v1") || !strcmp(text, "v2");
}

#define VERIFIES "require, optional or none"
static bool is_verify(const char *text, double least, double most) {
  static const char *const values[] = {"require", "optional", "none", NULL};
  (void)least;
  (void)most;
  return cli_index_of(text, values) >= 0;
}

#define TLS_VERSIONS "1.2 or 1.3"
static bool is_tls_version(const char *text, double least, double most) {
  (void)least;
  (void)most;
  return !strcmp(text, "1.2") || !strcmp(text, "1.3");
}

/* Options of the engine, by kind. Zero, where it is no count of them, is no
 * deadline, or off. The one factor is the weight, which serve has as well. */
#define OF_FRONT(of, right)                                                    \
  .commands = FRONT, .argument = (of), .is_right = (right)
#define OF_MS(from) OF_FRONT("MS", is_integer), .least = from
#define OF_TIMEOUT(from) OF_FRONT("MS", is_integer)
#define OF_SECONDS(from) OF_FRONT("SECONDS", is_integer)
#define OF_COUNT(from) OF_FRONT("COUNT", is_integer), .least = from
#define OF_FACTOR(from)                                                        \
  .commands = FRONT | SERVE, .argument = "NUMBER", .is_right = cli_is_number,  \
  .least = from
#define OF_FLAG(from) OF_FRONT(NULL, cli_is_any)
#define OF_PROXY(from) OF_FRONT("VERSION", is_version), .wants = VERSIONS

/* What servers are sorted by. */
#define SORTS "connections, id, share, slot or unreachable"
static bool is_sort(const char *text, void *at) {
  *(const char **)at = text;
  return cli_index_of(text, cli_sorts) >= 0;
}

/* -- The table ------------------------------------------------------------- */

enum {
  RUN = 1 << CLI_RUN,
  CHECK = 1 << CLI_CHECK,
  FRONT = 1 << CLI_FRONT,
  SERVE = 1 << CLI_SERVE,
  STATUS = 1 << CLI_STATUS,
  TOP = 1 << CLI_TOP,
  SERVERS = 1 << CLI_SERVERS,
  RELOAD = 1 << CLI_RELOAD,
  DRAIN = 1 << CLI_DRAIN,
  RESUME = 1 << CLI_RESUME,
  HOSTS = RUN | CHECK | FRONT | SERVE,
  ASK = STATUS | TOP | SERVERS | RELOAD | DRAIN | RESUME,
  EVERY = HOSTS | ASK
};

const struct cli_item cli_items[] = {
#define ITEM(n, a, p, of, parser, where, valid, words)                         \
  {                                                                            \
    .name = (n), .argument = (a), .preset = (p), .commands = (of),             \
    .parse = (parser), .at = (where), .wants = (valid), .text = (words)        \
  }
#define AT(field) offsetof(struct cli_options, field)
#define MS_WANTED "milliseconds above 0"
    ITEM("admin", "ADDRESS", NULL, RUN | FRONT, is_listed, AT(admin),
         "an address",
         "where the host can be seen and steered by HTTP: the path of a Unix "
         "socket, HOST:PORT or PORT; may be repeated"),
    ITEM("admin", "ADDRESS", NULL, ASK, is_text, AT(ask), NULL,
         "the host to ask, at an address that it was given by this option; by "
         "default the environment's CALLOSUM_ADMIN"),
    ITEM("admin-control", NULL, NULL, RUN | FRONT, is_flag, AT(admin_control),
         NULL, "may be steered at a port, too, of this machine alone"),
    ITEM("admin-expose", NULL, NULL, RUN | FRONT, is_flag, AT(admin_expose),
         NULL, "other machines may see it"),
    ITEM("admin-host", "NAME", NULL, RUN | FRONT, is_listed, AT(admin_hosts),
         "a name",
         "what a browser may call this machine, beside localhost and its "
         "address; may be repeated"),
    ITEM("admin-mode", "OCTAL", "0600", RUN | FRONT, is_mode, AT(admin_mode),
         "octal permissions such as 0660", "permissions of such Unix sockets"),
    ITEM("admin-server-series", "N", "200", RUN | FRONT, is_count,
         AT(admin_server_series), "a number of servers",
         "the most servers a rover may have for each to have metrics of its "
         "own"),
    ITEM("allow-http", NULL, NULL, RUN | CHECK, is_flag, AT(host.allow_http),
         NULL, "a policy in the sandbox may find servers by HTTP"),
    ITEM("allow-path", "FOLDER", NULL, RUN | CHECK, is_listed,
         AT(host.allow_paths), "a folder",
         "where a policy in the sandbox may have Unix sockets and lists of "
         "servers, beside its own folder; may be repeated"),
    ITEM("budget", "MS", "1000", RUN | CHECK, is_ms, AT(host.budget), MS_WANTED,
         "time limit of a call into the policy"),
    {.name = "count",
     .letter = 'n',
     .argument = "COUNT",
     .commands = TOP,
     .parse = is_count,
     .at = AT(count),
     .wants = "a number",
     .text = "end after so many updates"},
    ITEM("for", "SECONDS", NULL, RUN | FRONT, is_seconds, AT(seconds),
         "a number of seconds above 0", "stop after that time"),
    ITEM("host", "HOST", "127.0.0.1", SERVE, is_text, AT(address), NULL,
         "the address to listen on"),
    ITEM("interval", "SECONDS", "1", TOP, is_seconds, AT(interval),
         "a number of seconds above 0", "time between updates"),
    ITEM("json", NULL, NULL, STATUS | SERVERS | RELOAD, is_flag, AT(json), NULL,
         "print the host's JSON as it is"),
    ITEM("limit", "COUNT", NULL, STATUS | SERVERS, is_count, AT(limit),
         "a number", "print so many servers (status: 10; servers: all)"),
    ITEM("load-budget", "MS", "5000", RUN | CHECK, is_ms, AT(host.load_budget),
         MS_WANTED, "time limit of loading the policy"),
    ITEM("log-format", "FMT", "text", HOSTS, is_format, AT(log_json), FORMATS,
         FORMATS),
    ITEM("log-level", "LEVEL", "info", HOSTS, is_level, AT(log_level), LEVELS,
         LEVELS),
    ITEM("memory", "SIZE", "256M", RUN | CHECK, is_size, AT(host.memory),
         "bytes, or a number with K, M or G",
         "the policy's memory: bytes, or K, M, G"),
    ITEM("once", NULL, NULL, TOP, is_flag, AT(once), NULL,
         "print once, as to no terminal"),
    ITEM("over", "SECONDS", NULL, SERVERS | DRAIN, is_seconds, AT(over),
         "a number of seconds above 0",
         "end the connections spread over that time"),
    ITEM("quiet", NULL, NULL, CHECK, is_flag, AT(quiet), NULL,
         "print nothing but errors"),
    ITEM("rover", "NAME", NULL, STATUS | TOP | SERVERS, is_text, AT(rover),
         NULL, "only that rover, if the policy has several"),
    ITEM("sandbox", NULL, NULL, RUN | CHECK, is_flag, AT(host.sandbox), NULL,
         "keep the policy from files, processes, luv, C modules and all "
         "modules but its own and callosum.*"),
    ITEM("sort", "KEY", "connections", STATUS | TOP | SERVERS, is_sort,
         AT(sort), SORTS, SORTS),
    ITEM("threads", "COUNT", "1", RUN | FRONT, is_threads,
         AT(host.threads), "a number from 0 to 64",
         "how many threads copy what joined connections of relays and fronts "
         "send; 0: the policy's own"),
    ITEM("timeout", "SECONDS", NULL, ASK, is_seconds, AT(timeout),
         "a number of seconds above 0",
         "how long to wait for the host (10 seconds; top: 2; reload: 60)"),
    ITEM("watch", NULL, NULL, RUN, is_flag, AT(host.watch), NULL,
         "reload when the script or a module from its folder changes"),
    {.name = "allow",
     .argument = "CIDRS",
     .commands = FRONT,
     .is_right = cli_is_list,
     .text = "who may connect: addresses and ranges such as 10.0.0.0/8, with "
             "commas between them; may be repeated"},
    {.name = "connectOn",
     .argument = "WHEN",
     .preset = "data",
     .commands = FRONT,
     .is_right = is_when,
     .wants = WHENS,
     .text = WHENS},
    {.name = "mode",
     .argument = "OCTAL",
     .preset = "0600",
     .commands = FRONT,
     .is_right = cli_is_any,
     .text = "permissions of LISTEN if it is a path"},
    {.name = "tlsCert",
     .argument = "FILE",
     .commands = FRONT,
     .is_right = cli_is_any,
     .text = "secures connections by TLS, with the certificate in this PEM "
             "file, and what leads from it to a CA"},
    {.name = "tlsKey",
     .argument = "FILE",
     .commands = FRONT,
     .is_right = cli_is_any,
     .text = "its key, if that is not in the same file"},
    {.name = "tlsCa",
     .argument = "FILE",
     .commands = FRONT,
     .is_right = cli_is_any,
     .text = "the CAs of clients, which then have to show a certificate"},
    {.name = "tlsCrl",
     .argument = "FILE",
     .commands = FRONT,
     .is_right = cli_is_any,
     .text = "revocation lists of these CAs"},
    {.name = "tlsVerify",
     .argument = "WHETHER",
     .commands = FRONT,
     .is_right = is_verify,
     .wants = VERIFIES,
     .text = "whether clients have to show a certificate"},
    {.name = "tlsNames",
     .argument = "NAMES",
     .commands = FRONT,
     .is_right = cli_is_list,
     .text = "the names that clients' certificates may have, with commas "
             "between them; may be repeated"},
    {.name = "tlsMinVersion",
     .argument = "VERSION",
     .preset = "1.2",
     .commands = FRONT,
     .is_right = is_tls_version,
     .wants = TLS_VERSIONS,
     .text = "the lowest version of TLS"},
    {.name = "tlsSessions",
     .preset = "20000",
     OF_COUNT(0),
     .most = UINT32_MAX,
     .text = "how many TLS sessions are kept for clients to resume"},
    {.name = "tlsHandshakeTimeout",
     .preset = "5000",
     OF_TIMEOUT(0),
     .most = UINT32_MAX,
     .text = "how long a TLS handshake may take"},
    {.name = "trusted",
     .argument = "CIDRS",
     .commands = FRONT,
     .is_right = cli_is_list,
     .text = "with --accept-proxy: who may connect, and send a PROXY header; "
             "written as for --allow"},
#define XX(type, field, kind, from, to, initial, lua, words)                   \
  {.name = (lua),                                                              \
   OF_##kind(from),                                                            \
   .most = (double)(to),                                                       \
   .preset = #initial,                                                         \
   .text = (words)},
    ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
        {.name = "help",
         .letter = 'h',
         .commands = EVERY | CLI_NO_COMMAND,
         .text = "print this"},
    {.name = "version",
     .letter = 'V',
     .commands = EVERY | CLI_NO_COMMAND,
     .text = "print the version"},
};
const int cli_item_count = sizeof cli_items / sizeof *cli_items;
_Static_assert(sizeof cli_items / sizeof *cli_items <= CLI_ITEMS_MAX,
               "more items than room for them");

const char *cli_item_name(const struct cli_item *item) {
  static char names[sizeof cli_items / sizeof *cli_items][32];
  char *name = names[item - cli_items], *to = name;

  if (*name) return name;
  for (const char *from = item->name; *from; from++) {
    if (isupper((unsigned char)*from)) *to++ = '-';
    *to++ = (char)tolower((unsigned char)*from);
  }
  return name;
}
