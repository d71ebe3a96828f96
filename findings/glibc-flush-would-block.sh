#!/bin/sh
# glibc 2.36 (Debian 12): fflush() on a stream whose descriptor does not block.
#
# Guess: where the reader is behind, fflush() fails with EAGAIN, the stream keeps
# what it could not write, and a later fflush() writes it.
# Seen: it fails with EAGAIN and has dropped what it held. The later one succeeds
# and writes nothing. So a program whose standard output was made non-blocking,
# be it by another process that shares it, loses text that it cannot repeat.
set -eu
GLIBC=2.36-9+deb12u14

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "libc6=$GLIBC" >/dev/null 2>&1
dpkg -x ./*.deb root

cat >flush.c <<'END'
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
  static char page[4096];
  int ends[2];
  if (pipe(ends) < 0) return 1;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  FILE *stream = fdopen(ends[1], "w");
  while (write(ends[1], page, sizeof page) > 0) {} /* nobody reads */

  fputs("hello\n", stream);
  int first = fflush(stream) ? errno : 0;
  while (read(ends[0], page, sizeof page) > 0) {} /* somebody does */
  clearerr(stream);
  int second = fflush(stream) ? errno : 0;
  ssize_t length = read(ends[0], page, sizeof page);
  printf("%s, then %s, %zd bytes\n", strerror(first), strerror(second),
         length > 0 ? length : 0);
  return 0;
}
END
cc -o flush flush.c
loader=$(find root -name 'ld-linux*.so.?' | head -n 1)
seen=$("$loader" --library-path "$(dirname "$(find root -name libc.so.6)")" \
  ./flush)

echo "glibc $GLIBC"
echo "two times fflush(): $seen"
test "$seen" = "Resource temporarily unavailable, then Success, 0 bytes"
