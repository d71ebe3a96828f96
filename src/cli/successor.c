#include "successor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin.h"
#include "notify.h"
#include "service.h"

/* The life of a successor: started with the sockets that listen here, it loads
 * the policy, and says that it is ready. Then nothing is accepted here any more,
 * and it is told which slots are taken. It answers that it serves, becomes the
 * service's main process, and is told which slots come free. If it ends before
 * it serves, or takes too long, all is here as it was; link.h has the words. */

enum {
  STDIO = 3,
  START_MS = 30000, /* beside the policy's load budget */
  ANSWER_MS = 10000
};

struct cli_left {
  const char *noun;
  char name[ROVER_ID_MAX + 1];
  int fd;
  const char *fd_name, *path; /* or NULL; only valid while it is started */
  rover_front_t *front;       /* once it is left, if it is one */
  bool is_left, owns_file;
};

extern char **environ;

/* -- What listens ---------------------------------------------------------- */

struct notes {
  struct cli_successor *successor;
  bool failed; /* no memory */
};

static void note(struct notes *notes, const char *noun, const char *name,
                 int fd, const rover_address_t *a) {
  struct cli_successor *s = notes->successor;

  if (fd < 0) return;
  struct cli_left *more = realloc(s->left, (s->count + 1) * sizeof *more);
  if (!more) {
    notes->failed = true;
    return;
  }
  s->left = more;
  struct cli_left *left = &more[s->count++];
  *left = (struct cli_left){
      .noun = noun, .fd = fd, .fd_name = a->fd_name, .path = a->path};
  snprintf(left->name, sizeof left->name, "%s", name);
}

static void note_relay(rover_host_t *host, const rover_host_relay_t *r,
                       void *arg) {
  (void)host;
  note(arg, "relay", r->name, rover_relay_fd(r->relay),
       &rover_relay_options(r->relay)->address);
}

static void note_front(rover_host_t *host, const rover_host_front_t *f,
                       void *arg) {
  (void)host;
  note(arg, "front", f->name, rover_front_fd(f->front),
       &rover_front_options(f->front)->address);
}

/* An address of --admin has its number as its name. */
static void note_admin(struct notes *notes) {
  const rover_address_t address = {0}; /* which the other one knows itself */
  char name[24];
  int fd;

  for (size_t i = 0; (fd = cli_admin_fd(i)) >= 0; i++) {
    snprintf(name, sizeof name, "%zu", i);
    note(notes, "admin", name, fd, &address);
  }
}

static struct cli_left *find(struct cli_successor *s, const char *noun,
                             const char *name) {
  for (size_t i = 0; i < s->count; i++)
    if (!strcmp(s->left[i].noun, noun) && !strcmp(s->left[i].name, name))
      return &s->left[i];
  return NULL;
}

/* -- Saying something ------------------------------------------------------ */

struct message {
  uv_write_t request;
  char *text;
};

static void on_written(uv_write_t *request, int status) {
  struct message *message = (struct message *)request;
  (void)status; /* if it has gone, nobody needs to know */
  free(message->text);
  free(message);
}

/* Takes the text, which open_memstream() has made. */
static int say(struct cli_successor *s, char *text, size_t length) {
  struct message *message = malloc(sizeof *message);
  uv_buf_t buffer = uv_buf_init(text, (unsigned)length);

  if (!message) {
    free(text);
    return UV_ENOMEM;
  }
  message->text = text;
  int err = uv_write(&message->request, (uv_stream_t *)&s->link, &buffer, 1,
                     on_written);
  if (err < 0) on_written(&message->request, err);
  return err;
}

/* All that is written to `out` until `end`. */
struct out {
  FILE *file;
  char *text;
  size_t length;
};

static bool begin(struct out *out) {
  *out = (struct out){0};
  out->file = open_memstream(&out->text, &out->length);
  return out->file != NULL;
}

static int end(struct cli_successor *s, struct out *out) {
  if (fclose(out->file) == 0) return say(s, out->text, out->length);
  free(out->text);
  return UV_ENOMEM;
}

/* -- Closing --------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
  struct cli_successor *s = handle->data;
  if (--s->handles == 0) s->state = CLI_SUCCESSOR_NONE;
}

static void close_handles(struct cli_successor *s) {
  s->state = CLI_SUCCESSOR_CLOSING;
  uv_close((uv_handle_t *)&s->link, on_closed);
  uv_close((uv_handle_t *)&s->deadline, on_closed);
  if (s->process.loop) uv_close((uv_handle_t *)&s->process, on_closed);
  s->handles = s->process.loop ? 3 : 2;
  free(s->left);
  s->left = NULL;
  s->count = 0;
}

static void stay_relay(rover_host_t *host, const rover_host_relay_t *r,
                       void *arg) {
  const struct cli_left *left = find(arg, "relay", r->name);
  (void)host;
  if (left && left->is_left) rover_relay_stay(r->relay, left->owns_file);
}

static void stay_front(rover_host_t *host, const rover_host_front_t *f,
                       void *arg) {
  const struct cli_left *left = find(arg, "front", f->name);
  (void)host;
  if (left && left->is_left) rover_front_stay(f->front, left->owns_file);
}

static void stay_admin(const struct cli_successor *s) {
  for (size_t i = 0; i < s->count; i++) {
    const struct cli_left *left = &s->left[i];
    if (!strcmp(left->noun, "admin") && left->is_left)
      cli_admin_stay((size_t)cli_link_number(left->name), left->owns_file);
  }
}

static void give_up(struct cli_successor *s) {
  static const rover_host_visitor_t stay = {.relay = stay_relay,
                                            .front = stay_front};

  if (s->state == CLI_SUCCESSOR_LEFT) {
    rover_host_each(s->host, &stay, s);
    stay_admin(s);
  }
  close_handles(s);
}

void cli_successor_close(struct cli_successor *s) {
  switch (s->state) {
    case CLI_SUCCESSOR_STARTING:
    case CLI_SUCCESSOR_LEFT:
      uv_process_kill(&s->process, SIGKILL);
      give_up(s);
      break;
    case CLI_SUCCESSOR_SERVES: close_handles(s); break;
    default: break;
  }
}

/* The reason that is known first counts; its end follows. */
static void kill_for(struct cli_successor *s, const char *why) {
  if (!s->why[0]) snprintf(s->why, sizeof s->why, "%s", why);
  uv_process_kill(&s->process, SIGKILL);
}

/* Which process is the service's main one now. */
static void tell_main(int pid) {
  char line[32];

  snprintf(line, sizeof line, "MAINPID=%d", pid);
  cli_notify(line);
}

/* If it fails when it is the main process, the service manager does not notice,
 * since it is not its child: this one becomes the main one again. */
static void on_exit_of(uv_process_t *process, int64_t status, int signum) {
  struct cli_successor *s = process->data;
  bool served = s->state == CLI_SUCCESSOR_SERVES;
  char why[sizeof s->why];

  if (served && status == 0 && signum == 0) return;
  if (s->why[0]) snprintf(why, sizeof why, "%s", s->why);
  else if (signum) snprintf(why, sizeof why, "signal %d ended it", signum);
  else snprintf(why, sizeof why, "it ended with status %d", (int)status);
  if (served) {
    tell_main((int)uv_os_getpid());
    cli_notify_wait(); /* to be known while this process is there */
  } else {
    give_up(s);
  }
  s->cb(s->data, 0, why);
}

/* If the loop was blocked, the answer may have arrived long ago. So the deadline
 * counts only if the loop has polled since, as it does before the timer fires
 * once more. */
static void on_deadline(uv_timer_t *timer) {
  struct cli_successor *s = timer->data;

  if (s->expired) kill_for(s, "it was not ready in time");
  else uv_timer_start(timer, on_deadline, 1, 0);
  s->expired = true;
}

static void set_deadline(struct cli_successor *s, uint64_t ms) {
  uv_update_time(s->deadline.loop);
  s->expired = false;
  uv_timer_start(&s->deadline, on_deadline, ms, 0);
}

/* -- Leaving --------------------------------------------------------------- */

static void put_taken(FILE *out, size_t place, uint32_t index,
                      const struct sockaddr *peer) {
  char address[INET6_ADDRSTRLEN];

  fprintf(out, "taken %zu %lu", place, (unsigned long)index);
  if (peer && uv_ip_name(peer, address, sizeof address) == 0)
    cli_link_put(out, address);
  putc('\n', out);
}

/* What has been left is told with the slots that are taken; from then on, which
 * of these come free. */
static void on_index(rover_front_t *front, uint32_t index, int taken,
                     const struct sockaddr *peer, void *arg) {
  struct cli_successor *s = arg;
  size_t place = 0;
  struct out out;

  while (place < s->count && s->left[place].front != front) place++;
  if (place == s->count) return;
  if (s->out) {
    if (taken) put_taken(s->out, place, index, peer);
  } else if (begin(&out)) {
    fprintf(out.file, "freed %zu %lu\n", place, (unsigned long)index);
    end(s, &out);
  }
}

static void note_left(struct cli_successor *s, struct cli_left *left,
                      int owns) {
  if (owns < 0) {
    if (owns != UV_EBADF) kill_for(s, uv_strerror(owns)); /* it has closed */
    return;
  }
  left->is_left = true;
  left->owns_file = owns;
  fprintf(s->out, "left %zu %d\n", (size_t)(left - s->left), owns);
}

static void leave_relay(rover_host_t *host, const rover_host_relay_t *r,
                        void *arg) {
  struct cli_left *left = find(arg, "relay", r->name);
  (void)host;
  if (left) note_left(arg, left, rover_relay_leave(r->relay));
}

static void leave_front(rover_host_t *host, const rover_host_front_t *f,
                        void *arg) {
  struct cli_left *left = find(arg, "front", f->name);
  (void)host;
  if (!left) return;
  left->front = f->front;
  note_left(arg, left, rover_front_leave(f->front, on_index, arg));
}

static void leave_admin(struct cli_successor *s) {
  for (size_t i = 0; i < s->count; i++)
    if (!strcmp(s->left[i].noun, "admin"))
      note_left(s, &s->left[i],
                cli_admin_leave((size_t)cli_link_number(s->left[i].name)));
}

static void put_decision(rover_host_t *host, const rover_host_decision_t *d,
                         void *arg) {
  FILE *out = arg;

  (void)host;
  fputs(d->rover ? "steered" : "drained", out);
  if (d->rover) {
    cli_link_put(out, d->rover);
    cli_link_put(out, d->id);
    cli_link_put(out, d->address);
    fprintf(out, " %d %d %d", d->port, (int)d->how, d->added);
  }
  fprintf(out, " %llu\n", (unsigned long long)d->ms);
}

static void on_ready(struct cli_successor *s) {
  static const rover_host_visitor_t leave = {.relay = leave_relay,
                                             .front = leave_front};
  struct out out;

  if (s->state != CLI_SUCCESSOR_STARTING) return;
  if (!begin(&out)) {
    kill_for(s, uv_strerror(UV_ENOMEM));
    return;
  }
  s->state = CLI_SUCCESSOR_LEFT;
  s->out = out.file;
  rover_host_each(s->host, &leave, s);
  leave_admin(s);
  s->out = NULL;
  rover_host_decisions(s->host, put_decision, out.file);
  fputs("go\n", out.file);
  if (end(s, &out) < 0) kill_for(s, uv_strerror(UV_ENOMEM));
  else set_deadline(s, ANSWER_MS);
}

static void on_serving(struct cli_successor *s) {
  int pid = (int)s->process.pid;
  struct out out;

  if (s->state != CLI_SUCCESSOR_LEFT || s->why[0]) return;
  s->state = CLI_SUCCESSOR_SERVES;
  uv_timer_stop(&s->deadline);
  uv_unref((uv_handle_t *)&s->process);
  uv_unref((uv_handle_t *)&s->link);
  tell_main(pid);
  if (begin(&out)) {
    fputs("main\n", out.file);
    end(s, &out);
  }
  s->cb(s->data, pid, NULL);
}

/* -- Starting -------------------------------------------------------------- */

static void on_line(void *data, char *words[CLI_LINK_WORDS]) {
  struct cli_successor *s = data;
  if (!strcmp(words[0], "ready")) on_ready(s);
  else if (!strcmp(words[0], "serving")) on_serving(s);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  struct cli_successor *s = handle->data;
  (void)size;
  *buffer = uv_buf_init(s->bytes, sizeof s->bytes);
}

/* If it has gone, its exit says why. */
static void on_read(uv_stream_t *link, ssize_t n, const uv_buf_t *buffer) {
  struct cli_successor *s = link->data;

  if (n < 0) uv_read_stop(link);
  else if (!cli_link_feed(&s->in, buffer->base, (size_t)n, on_line, s))
    kill_for(s, "it does not speak as it should");
}

/* libuv has a shell run what is no program, as execvp(3) does. */
static bool is_program(const char *path) {
  char magic[4] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);

  if (fd < 0) return true; /* which it will say, or may still run */
  ssize_t n = read(fd, magic, sizeof magic);
  close(fd);
  return n == sizeof magic &&
         (!memcmp(magic, "\177ELF", 4) || !memcmp(magic, "#!", 2));
}

/* With the number of the link, and the watchdog, which the other one will have
 * to satisfy. NULL if there is no memory. */
static char **make_environment(size_t link, char variable[64]) {
  const char *watchdog = cli_service_watchdog();
  size_t count = 0;

  while (environ[count]) count++;
  char **own = calloc(count + 3, sizeof *own);
  if (!own) return NULL;
  memcpy(own, environ, count * sizeof *own);
  snprintf(variable, 64, CLI_LINK_VARIABLE "=%zu", link);
  own[count] = variable;
  own[count + 1] = (char *)watchdog;
  return own;
}

static int spawn(struct cli_successor *s, uv_loop_t *loop,
                 const struct cli_options *options, int link) {
  size_t count = STDIO + s->count + 1;
  uv_stdio_container_t *stdio = calloc(count, sizeof *stdio);
  char variable[64], **environment = make_environment(count - 1, variable);
  uv_process_options_t how = {.exit_cb = on_exit_of,
                              .file = options->executable,
                              .args = options->command_line};
  int err = UV_ENOMEM;

  if (!is_program(options->executable)) {
    err = UV_EFTYPE;
  } else if (stdio && environment) {
    for (size_t i = 0; i < count; i++) {
      int fd = i < STDIO       ? (int)i
               : i < count - 1 ? s->left[i - STDIO].fd
                               : link;
      stdio[i].flags = UV_INHERIT_FD;
      stdio[i].data.fd = fd;
    }
    how.env = environment;
    how.stdio_count = (int)count;
    how.stdio = stdio;
    err = uv_spawn(loop, &s->process, &how);
  }
  free(stdio);
  free(environment);
  return err;
}

/* What it is to listen on. */
static int greet(struct cli_successor *s) {
  struct out out;

  if (!begin(&out)) return UV_ENOMEM;
  fprintf(out.file, "upgrade 1 %zu\n", s->count);
  for (size_t i = 0; i < s->count; i++) {
    fputs("listener", out.file);
    cli_link_put(out.file, s->left[i].noun);
    cli_link_put(out.file, s->left[i].name);
    cli_link_put(out.file, s->left[i].fd_name);
    cli_link_put(out.file, s->left[i].path);
    putc('\n', out.file);
  }
  return end(s, &out);
}

static void init(struct cli_successor *s, uv_loop_t *loop) {
  uv_timer_init(loop, &s->deadline);
  uv_pipe_init(loop, &s->link, 0);
  s->process = (uv_process_t){0}; /* until it is spawned */
  s->process.data = s->link.data = s->deadline.data = s;
  s->in.length = 0;
  s->why[0] = '\0';
}

static int list_listeners(struct cli_successor *s) {
  static const rover_host_visitor_t each = {.relay = note_relay,
                                            .front = note_front};
  struct notes notes = {s, false};

  rover_host_each(s->host, &each, &notes);
  note_admin(&notes);
  return notes.failed ? UV_ENOMEM : 0;
}

int cli_successor_start(struct cli_successor *s, rover_host_t *host,
                        const struct cli_options *options, cli_successor_cb cb,
                        void *data) {
  uv_loop_t *loop = rover_host_loop(host);
  int ends[2];

  int err = uv_socketpair(SOCK_STREAM, 0, ends, 0, 0);
  if (err < 0) return err;
  s->host = host;
  s->cb = cb;
  s->data = data;
  init(s, loop);
  err = list_listeners(s);
  if (err == 0) err = spawn(s, loop, options, ends[1]);
  bool runs = err == 0;
  if (err == 0) err = uv_pipe_open(&s->link, ends[0]);
  if (err < 0) close(ends[0]);
  close(ends[1]);
  if (err == 0) err = greet(s);
  if (err == 0) err = uv_read_start((uv_stream_t *)&s->link, on_alloc, on_read);
  if (err < 0) {
    if (runs) uv_process_kill(&s->process, SIGKILL);
    close_handles(s);
    return err;
  }
  s->state = CLI_SUCCESSOR_STARTING;
  set_deadline(s, options->host.load_budget + START_MS);
  return 0;
}
