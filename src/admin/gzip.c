#include "gzip.h"

#include <stdlib.h>
#include <zlib.h>

enum {
  LEVEL = 1,
  WINDOW_BITS = 13 + 16, /* 8 KiB; 16 for gzip's header */
  MEMORY = 7,            /* with that, 100 KiB a stream */
  OVERHEAD = 64          /* header, trailer and the end of a block, ... */
};

struct admin__gzip {
  z_stream stream;
};

struct admin__gzip *admin__gzip_new(void) {
  struct admin__gzip *gzip = calloc(1, sizeof *gzip);

  if (gzip && deflateInit2(&gzip->stream, LEVEL, Z_DEFLATED, WINDOW_BITS,
                           MEMORY, Z_DEFAULT_STRATEGY) == Z_OK)
    return gzip;
  free(gzip);
  return NULL;
}

void admin__gzip_free(struct admin__gzip *gzip) {
  if (gzip) deflateEnd(&gzip->stream);
  free(gzip);
}

/* ... and stored blocks of bytes that cannot be compressed. */
size_t admin__gzip_bound(size_t length) {
  return length + length / 128 + OVERHEAD;
}

long admin__gzip_put(struct admin__gzip *gzip, const char *in, size_t length,
                     bool last, char *out, size_t size) {
  z_stream *z = &gzip->stream;

  z->next_in = (Bytef *)in;
  z->avail_in = (uInt)length;
  z->next_out = (Bytef *)out;
  z->avail_out = (uInt)size;
  int result = deflate(z, last ? Z_FINISH : Z_SYNC_FLUSH);
  if (z->avail_in > 0 || z->avail_out == 0 ||
      (last ? result != Z_STREAM_END : result != Z_OK))
    return -1;
  return (long)(size - z->avail_out);
}
