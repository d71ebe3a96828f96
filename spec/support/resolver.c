/* A resolver for the specs, to be preloaded: the names below answer as they
 * say, all others as ever. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Chains the addresses, each as the system's resolver would give it. */
static int answer(int (*resolve)(const char *, const char *,
                                 const struct addrinfo *, struct addrinfo **),
                  const char *const addresses[], const struct addrinfo *hints,
                  struct addrinfo **found) {
  struct addrinfo **end = found;
  *found = NULL;
  for (; *addresses; addresses++) {
    int err = resolve(*addresses, NULL, hints, end);
    if (err) return err;
    while (*end) end = &(*end)->ai_next;
  }
  return 0;
}

int getaddrinfo(const char *name, const char *service,
                const struct addrinfo *hints, struct addrinfo **found) {
  static const char *const last[] = {"127.0.0.2", "127.0.0.3", "127.0.0.4",
                                     "127.0.0.1", NULL};
  static const char *const late[] = {"127.0.0.1", NULL};
  int (*resolve)(const char *, const char *, const struct addrinfo *,
                 struct addrinfo **);

  *(void **)&resolve = dlsym(RTLD_NEXT, "getaddrinfo");
  if (!strcmp(name, "unknown.test")) return EAI_NONAME;
  if (!strcmp(name, "failing.test")) return EAI_AGAIN;
  if (!strcmp(name, "broken.test")) return EAI_FAIL;
  if (!strcmp(name, "last.test")) return answer(resolve, last, hints, found);
  if (!strcmp(name, "late.test") || !strcmp(name, "slow.test")) {
    long ms = name[0] == 'l' ? 200 : 10;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
    return answer(resolve, late, hints, found);
  }
  return resolve(name, service, hints, found);
}
