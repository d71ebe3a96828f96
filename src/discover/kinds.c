#include "provider.h"

#include "file.h"

#include <stddef.h>

/* What sources can ask. */
const struct discover__kind *const discover__kinds[] = {&discover__file, NULL};
