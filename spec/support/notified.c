/* A service manager, as far as notifications go: receives datagrams at a path,
 * and writes each as a line: who has sent it, and its text, with blanks for the
 * ends of its own lines. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[1024];
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0), on = 1;

  if (argc != 2) return 2;
  snprintf(name.sun_path, sizeof name.sun_path, "%s", argv[1]);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
      bind(fd, (struct sockaddr *)&name, sizeof name) < 0)
    return 1;
  puts("bound");
  fflush(stdout);
  for (;;) {
    union {
      struct cmsghdr header;
      char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec whole = {text, sizeof text - 1};
    struct msghdr message = {.msg_iov = &whole,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct ucred from = {0};
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return 1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c;
         c = CMSG_NXTHDR(&message, c)) {
      int barrier; /* whose end is waited for */
      if (c->cmsg_type == SCM_CREDENTIALS) {
        memcpy(&from, CMSG_DATA(c), sizeof from);
      } else if (c->cmsg_type == SCM_RIGHTS) {
        memcpy(&barrier, CMSG_DATA(c), sizeof barrier);
        close(barrier);
      }
    }
    text[n] = '\0';
    for (char *at = text; *at; at++)
      if (*at == '\n') *at = ' ';
    printf("%d %s\n", (int)from.pid, text);
    fflush(stdout);
  }
}
