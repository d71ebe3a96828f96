/* Private to src/discover: a file that lists servers, see list.h. It is watched,
 * and read again when it, or what its path leads through, has changed. */
#ifndef DISCOVER_FILE_H
#define DISCOVER_FILE_H

#include "provider.h"

extern const struct discover__kind discover__file;

#endif
