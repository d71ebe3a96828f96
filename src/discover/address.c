#include "address.h"

#include <stdlib.h>
#include <string.h>

/* Up to 65535, or 0. */
static int read_port(const char *text) {
  char *end;

  if (*text < '0' || *text > '9') return 0;
  long port = strtol(text, &end, 10);
  return *end || port > 65535 ? 0 : (int)port;
}

bool discover__address_read(struct discover__address *address, const char *text,
                            int port, struct discover__entry *entry) {
  size_t length = strlen(text);
  const char *host = text, *colon = strrchr(text, ':');

  if (*text == '[') {
    const char *end = strchr(text, ']');
    if (!end || (end[1] && end[1] != ':')) return false;
    host = text + 1;
    length = (size_t)(end - host);
    colon = end[1] ? end + 1 : NULL;
  } else if (colon && strchr(text, ':') != colon) {
    colon = NULL; /* an IPv6 address without brackets has no port */
  } else if (colon) {
    length = (size_t)(colon - text);
  }
  if (length == 0 || length >= sizeof address->host) return false;
  memcpy(address->host, host, length);
  address->host[length] = '\0';
  *entry = (struct discover__entry){
      .host = address->host, .port = colon ? read_port(colon + 1) : port};
  return entry->port > 0;
}
