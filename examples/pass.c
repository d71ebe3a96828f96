/* Passes its sockets to another process: a rover detaches them and sends their
 * descriptors over a Unix socket to receive.lua, which knows nothing of
 * Callosum and continues the same connections.
 *
 *   cc -o build/pass examples/pass.c \
 *     $(pkg-config --cflags --libs callosum-rover)
 *   lua5.4 examples/receive.lua /tmp/receive &
 *   callosum-rover serve 4040 4041 -- build/pass /tmp/receive 4040 4041
 */
#include <callosum/rover.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Sends the slot as a line, along with the descriptor. Never blocks: UV_EAGAIN
 * means that the receiver is too far behind. */
static int pass(int channel, int slot, int fd) {
  char line[16];
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof fd)];
  } control = {{CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS}};
  struct iovec data = {line, (size_t)sprintf(line, "%d\n", slot)};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};

  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  ssize_t sent = sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? uv_translate_sys_error(errno) : 0;
}

static void on_connection(rover_t *rover, int slot, rover_socket_t *socket) {
  int *channel = rover_data(rover);
  int fd = rover_socket_detach(socket);
  int err = fd < 0 ? fd : pass(*channel, slot, fd);

  if (err < 0) fprintf(stderr, "slot %d: %s\n", slot, uv_strerror(err));
  if (fd < 0) rover_socket_close(socket);
  else close(fd); /* if it was sent, the receiver has a duplicate */
  if (err == UV_EPIPE) rover_close(rover, NULL); /* no receiver */
}

static void on_unreachable(rover_t *rover, rover_server_t *server, int status) {
  (void)status;
  fprintf(stderr, "%s: %s\n", rover_server_id(server),
          rover_unreachable_message(rover));
}

static void on_error(rover_t *rover, rover_server_t *server, int status,
                     const char *message) {
  (void)rover, (void)status;
  fprintf(stderr, "%s: %s\n", server ? rover_server_id(server) : "-", message);
}

int main(int argc, char *argv[]) {
  int channel = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  rover_options_t options = {
      .roving_interval = 100, /* ms */
      .events = {
          .connection = on_connection,
          .unreachable = on_unreachable,
          .error = on_error},
      .data = &channel};
  uv_loop_t *loop = uv_default_loop();
  rover_t *rover;

  strncpy(to.sun_path, argc > 1 ? argv[1] : "", sizeof to.sun_path - 1);
  if (connect(channel, (struct sockaddr *)&to, sizeof to) < 0) {
    perror(to.sun_path);
    return 1;
  }
  int err = rover_new(&rover, loop, &options);
  for (int i = 2; i < argc && err == 0; i++)
    err = rover_server_add(rover, argv[i], "localhost", atoi(argv[i]));
  if (err == 0) err = rover_start(rover);
  if (err == 0) err = uv_run(loop, UV_RUN_DEFAULT);
  if (err == 0) err = uv_loop_close(loop);
  if (err < 0) fprintf(stderr, "%s: %s\n", argv[0], uv_strerror(err));
  close(channel);
  return err < 0;
}
