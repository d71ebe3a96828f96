/* Private to src/admin: the page that a browser shows, page.html, as `embed`
 * puts it into the executable when that is built. */

#ifndef ADMIN_PAGE_H
#define ADMIN_PAGE_H

#include <stddef.h>

extern const unsigned char admin__page[];
extern const size_t admin__page_size;

/* The value of the Content-Security-Policy that it is served with. */
extern const char admin__page_policy[];

#endif
