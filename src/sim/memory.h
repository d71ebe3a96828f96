/* Private to src/sim: memory, without which this program ends. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stddef.h>

/* Zeroed. */
void *sim__new(size_t size);

/* As realloc(). */
void *sim__grow(void *old, size_t size);

#endif
