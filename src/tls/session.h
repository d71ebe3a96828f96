/* Private to src/tls: the sessions that a client resumes, one for each server,
 * the most recently used ones. */
#ifndef TLS_SESSION_H
#define TLS_SESSION_H

#include <openssl/ssl.h>

struct tls__session;

struct tls__sessions {
  struct tls__session *by_server; /* the least recently used first */
};

/* The session of a server, if it can be resumed; it stays its own. */
SSL_SESSION *tls__sessions_find(struct tls__sessions *sessions,
                                const char *server);
/* Takes over one reference, also if it cannot keep it. */
void tls__sessions_keep(struct tls__sessions *sessions, const char *server,
                        SSL_SESSION *session);
void tls__sessions_forget(struct tls__sessions *sessions, const char *server);
/* Adds those of servers that have none yet. */
void tls__sessions_move(struct tls__sessions *sessions,
                        struct tls__sessions *from);
void tls__sessions_clear(struct tls__sessions *sessions);

#endif
