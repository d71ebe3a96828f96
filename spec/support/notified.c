/* A service manager, as far as notifications go: receives datagrams at a path,
 * and writes each as a line, with blanks for the ends of its own lines. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[1024];
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

  if (argc != 2) return 2;
  snprintf(name.sun_path, sizeof name.sun_path, "%s", argv[1]);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0) return 1;
  puts("bound");
  fflush(stdout);
  for (;;) {
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    if (n < 0) return 1;
    text[n] = '\0';
    for (char *at = text; *at; at++)
      if (*at == '\n') *at = ' ';
    puts(text);
    fflush(stdout);
  }
}
