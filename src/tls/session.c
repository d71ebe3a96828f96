#include "session.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_lost = true)
#include <uthash.h>

#include "text.h"

/* A session takes some 7 KB, most of that the server's certificate. */
enum { SESSIONS_MAX = 1024 };

struct tls__session {
  UT_hash_handle hh;
  SSL_SESSION *session;
  bool is_lost; /* it could not be hashed */
  char server[];
};

static struct tls__session *find(struct tls__sessions *sessions,
                                 const char *server) {
  struct tls__session *found;
  HASH_FIND_STR(sessions->by_server, server, found);
  return found;
}

static void release(struct tls__session *each) {
  SSL_SESSION_free(each->session);
  free(each);
}

static void drop(struct tls__sessions *sessions, struct tls__session *each) {
  HASH_DEL(sessions->by_server, each);
  release(each);
}

/* As the most recently used. */
static bool append(struct tls__sessions *sessions, struct tls__session *each) {
  each->is_lost = false;
  HASH_ADD_STR(sessions->by_server, server, each);
  if (!each->is_lost) return true;
  release(each);
  return false;
}

/* Its end is that of what was verified, or earlier. */
static bool is_current(const SSL_SESSION *session) {
  return SSL_SESSION_is_resumable(session) &&
         SSL_SESSION_get0_peer((SSL_SESSION *)session) &&
         (int64_t)time(NULL) <=
             tls__session_time(session) + SSL_SESSION_get_timeout(session);
}

static SSL_SESSION *copy(struct tls__sessions *sessions, const char *server) {
  struct tls__session *found = find(sessions, server);
  if (!found) return NULL;
  if (!is_current(found->session)) {
    drop(sessions, found);
    return NULL;
  }
  HASH_DEL(sessions->by_server, found);
  return append(sessions, found) ? SSL_SESSION_dup(found->session) : NULL;
}

SSL_SESSION *tls__sessions_copy(struct tls__sessions *sessions,
                                const char *server) {
  pthread_mutex_lock(&sessions->lock);
  SSL_SESSION *session = copy(sessions, server);
  pthread_mutex_unlock(&sessions->lock);
  return session;
}

static void keep(struct tls__sessions *sessions, const char *server,
                 SSL_SESSION *session) {
  struct tls__session *found = find(sessions, server);
  if (found) {
    SSL_SESSION_free(found->session);
    found->session = session;
    return;
  }
  size_t size = strlen(server) + 1;
  struct tls__session *kept = malloc(sizeof *kept + size);
  if (!kept) {
    SSL_SESSION_free(session);
    return;
  }
  kept->session = session;
  memcpy(kept->server, server, size);
  if (HASH_COUNT(sessions->by_server) >= SESSIONS_MAX)
    drop(sessions, sessions->by_server);
  append(sessions, kept);
}

void tls__sessions_keep(struct tls__sessions *sessions, const SSL_CTX *maker,
                        const char *server, SSL_SESSION *session) {
  pthread_mutex_lock(&sessions->lock);
  if (maker == sessions->maker) keep(sessions, server, session);
  else SSL_SESSION_free(session);
  pthread_mutex_unlock(&sessions->lock);
}

void tls__sessions_forget(struct tls__sessions *sessions, const char *server) {
  pthread_mutex_lock(&sessions->lock);
  struct tls__session *found = find(sessions, server);
  if (found) drop(sessions, found);
  pthread_mutex_unlock(&sessions->lock);
}

/* -- All of them ---------------------------------------------------------- */

void tls__sessions_init(struct tls__sessions *sessions) {
  *sessions = (struct tls__sessions){.maker = NULL};
  pthread_mutex_init(&sessions->lock, NULL);
}

/* As a list by hh.next; none is left. */
static struct tls__session *take_all(struct tls__sessions *sessions) {
  struct tls__session *first = sessions->by_server;
  HASH_CLEAR(hh, sessions->by_server);
  return first;
}

static void release_all(struct tls__session *each) {
  struct tls__session *next;
  for (; each; each = next) {
    next = each->hh.next;
    release(each);
  }
}

void tls__sessions_restart(struct tls__sessions *sessions,
                           const SSL_CTX *maker) {
  pthread_mutex_lock(&sessions->lock);
  struct tls__session *all = take_all(sessions);
  sessions->maker = maker;
  pthread_mutex_unlock(&sessions->lock);
  release_all(all);
}

/* One lock at a time, so that none waits for the other. */
void tls__sessions_move(struct tls__sessions *sessions,
                        struct tls__sessions *from) {
  pthread_mutex_lock(&from->lock);
  struct tls__session *each = take_all(from), *next;
  const SSL_CTX *maker = from->maker;
  pthread_mutex_unlock(&from->lock);

  pthread_mutex_lock(&sessions->lock);
  sessions->maker = maker;
  for (; each; each = next) {
    next = each->hh.next;
    if (!find(sessions, each->server)) append(sessions, each);
    else release(each);
  }
  pthread_mutex_unlock(&sessions->lock);
}

void tls__sessions_free(struct tls__sessions *sessions) {
  release_all(take_all(sessions));
  pthread_mutex_destroy(&sessions->lock);
}
