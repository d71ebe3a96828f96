/* Private to src/admin: answers that are compressed. */
#ifndef ADMIN_GZIP_H
#define ADMIN_GZIP_H

#include <stdbool.h>
#include <stddef.h>

struct admin__gzip;

/* NULL if there is no memory. */
struct admin__gzip *admin__gzip_new(void);
void admin__gzip_free(struct admin__gzip *gzip); /* or NULL */

/* How much may come of `length` bytes. */
size_t admin__gzip_bound(size_t length);

/* Compresses all of `in`, so that what it becomes can be read at once; `last`
 * ends it. Returns the length, or -1 if there is not enough room. */
long admin__gzip_put(struct admin__gzip *gzip, const char *in, size_t length,
                     bool last, char *out, size_t size);

#endif
