#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A manager that does not listen is no fault of ours, so nothing is reported.
 * The variable stays, for the process that takes over from this one. */
void cli_notify(const char *lines) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  const char *path = getenv("NOTIFY_SOCKET");
  size_t length = path ? strlen(path) : 0;

  if (length < 2 || length > sizeof name.sun_path || !strchr("/@", *path))
    return;
  memcpy(name.sun_path, path, length);
  if (*path == '@') name.sun_path[0] = '\0'; /* an abstract one */
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (struct sockaddr *)&name,
         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
  close(fd);
}
