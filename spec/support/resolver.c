/* A resolver for the specs, to be preloaded: the names below answer as they
 * say, all others as ever. Where the variable RESOLVER names a folder, what is
 * asked is noted in its file "asked", a name a line, and the servers of names
 * that begin with "silent" answer once its file "answer" is there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static void wait_ms(long ms) {
  nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static const char *path_of(char path[1024], const char *file) {
  const char *folder = getenv("RESOLVER");
  snprintf(path, 1024, "%s/%s", folder ? folder : "", file);
  return folder ? path : NULL;
}

static void note(const char *name) {
  char path[1024];
  FILE *file = path_of(path, "asked") ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", name);
  fclose(file);
}

static void await_answer(void) {
  char path[1024];
  const char *folder = getenv("RESOLVER");
  while (folder && path_of(path, "answer") && access(path, F_OK) < 0 &&
         access(folder, F_OK) == 0)
    wait_ms(1);
}

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
  static const char *const four[] = {"127.0.0.2", "127.0.0.3", "127.0.0.4",
                                     "127.0.0.5", NULL};
  static const char *const both[] = {"::1", "127.0.0.2", "127.0.0.3", NULL};
  int (*resolve)(const char *, const char *, const struct addrinfo *,
                 struct addrinfo **);

  *(void **)&resolve = dlsym(RTLD_NEXT, "getaddrinfo");
  note(name);
  if (!strcmp(name, "unknown.test")) return EAI_NONAME;
  if (!strcmp(name, "failing.test")) return EAI_AGAIN;
  if (!strcmp(name, "broken.test")) return EAI_FAIL;
  if (!strcmp(name, "last.test")) return answer(resolve, last, hints, found);
  if (!strcmp(name, "late.test") || !strcmp(name, "slow.test")) {
    wait_ms(name[0] == 'l' ? 900 : 10);
    return answer(resolve, late, hints, found);
  }
  if (!strncasecmp(name, "silent", 6)) await_answer();
  if (!strncasecmp(name, "silent", 6) || !strcmp(name, "known.test"))
    return answer(resolve, late, hints, found);
  if (!strcmp(name, "four.test")) return answer(resolve, four, hints, found);
  if (!strcmp(name, "both.test")) return answer(resolve, both, hints, found);
  return resolve(name, service, hints, found);
}
