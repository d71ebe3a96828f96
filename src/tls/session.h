/* Private to src/tls: the sessions that a client resumes, one for each server,
 * the most recently used ones. Any thread may call these: a session comes to
 * whichever reads its connection. */
#ifndef TLS_SESSION_H
#define TLS_SESSION_H

#include <pthread.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct tls__session;

struct tls__sessions {
  pthread_mutex_t lock;
  const SSL_CTX *maker;           /* whose connections' sessions are kept */
  struct tls__session *by_server; /* the least recently used first */
};

/* When a session was made, in seconds. Older versions have only a function that
 * returns a long, and newer ones deprecate it. */
static inline int64_t tls__session_time(const SSL_SESSION *session) {
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
  return SSL_SESSION_get_time_ex(session);
#else
  return SSL_SESSION_get_time(session);
#endif
}

void tls__sessions_init(struct tls__sessions *sessions);
/* Forgets all, and keeps those of another maker from now on. */
void tls__sessions_restart(struct tls__sessions *sessions,
                           const SSL_CTX *maker);
void tls__sessions_free(struct tls__sessions *sessions);

/* A copy of a server's session, if it can be resumed; NULL also for lack of
 * memory. OpenSSL resumes one of TLS 1.3 only once, hence the copy. */
SSL_SESSION *tls__sessions_copy(struct tls__sessions *sessions,
                                const char *server);
/* Takes over one reference, also if it cannot keep it. */
void tls__sessions_keep(struct tls__sessions *sessions, const SSL_CTX *maker,
                        const char *server, SSL_SESSION *session);
void tls__sessions_forget(struct tls__sessions *sessions, const char *server);
/* Goes on with those that `from` has, and its maker. Of one server its own
 * session stays. */
void tls__sessions_move(struct tls__sessions *sessions,
                        struct tls__sessions *from);

#endif
