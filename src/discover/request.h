/* Private to src/discover: a request, as libcurl is told of it. Part of the module
 * of client.h. Owner: client.c. */
#ifndef DISCOVER_REQUEST_H
#define DISCOVER_REQUEST_H

#include <curl/curl.h>

#include "client.h"

struct discover__asked {
  CURL *easy;
  struct curl_slist *headers, *addresses, *via; /* libcurl reads these */
  char *url, *shown;            /* shown: without what may be secret */
  char reason[CURL_ERROR_SIZE]; /* why it failed; or empty */
};

/* Sets all of it, to be freed either way. Errors: UV_EINVAL, UV_ENOMEM. */
int discover__asked_init(struct discover__asked *asked,
                         const struct discover__request *request);
void discover__asked_free(struct discover__asked *asked);

/* See client.h. */
int discover__host_of(const char *url, char **host);

#endif
