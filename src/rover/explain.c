#include "explain.h"

#include <inttypes.h>
#include <stdio.h>

const char *rover__explain_lack(int status) {
  switch (status) {
    case UV_EDESTADDRREQ: return "No servers to contact";
    case UV_EMFILE:
      return "this process has no descriptors left; raise its limit of open "
             "files (ulimit -n)";
    case UV_ENFILE: return "this system has no descriptors left";
    case UV_ENOMEM: return "out of memory";
    case UV_EAGAIN:
      return "this machine has no room for the threads that look names up; "
             "raise the limit of processes, or lower UV_THREADPOOL_SIZE";
    case UV_EADDRNOTAVAIL:
      return "this machine has no local ports left to connect from";
    default: return uv_strerror(status);
  }
}

const char *rover__explain(const rover_options_t *options,
                           const struct rover__failing *f,
                           char text[ROVER__TEXT_MAX]) {
  const char *whole = f->partly ? "whole " : "";
  uint64_t ms = options->connect_timeout;
  size_t size = ROVER__TEXT_MAX;

  if (f->phase == ROVER__RESOLVING && f->expired)
    snprintf(text, size, "name '%s' not resolved within %" PRIu64 " ms",
             f->host, ms);
  else if (f->phase == ROVER__RESOLVING)
    snprintf(text, size, "name '%s' not resolved: %s", f->host,
             uv_strerror(f->status));
  else if (f->phase == ROVER__CONNECTING && f->expired)
    snprintf(text, size, "no connection within %" PRIu64 " ms", ms);
  else if (f->phase == ROVER__CONNECTING)
    return uv_strerror(f->status);
  else if (f->phase == ROVER__SECURING && f->expired)
    snprintf(text, size,
             "connected, but no TLS handshake within %" PRIu64 " ms; does it "
             "speak TLS?",
             ms);
  else if (f->phase == ROVER__SECURING)
    snprintf(text, size,
             "connected, but the TLS handshake was broken off: %s",
             uv_strerror(f->status));
  else if (f->expired)
    snprintf(text, size,
             "connected, but sent no %sslot line in %" PRIu64 " ms; is it a "
             "Callosum server?",
             whole, options->slot_timeout);
  else if (f->status == UV_EOF)
    snprintf(text, size, "connected, but closed before a %sslot line", whole);
  else
    snprintf(text, size, "connected, but sent no %sslot line: %s", whole,
             uv_strerror(f->status));
  return text;
}
