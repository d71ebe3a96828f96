#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *must(void *memory) {
  if (memory) return memory;
  fputs("simulate: out of memory: fewer hosts need less\n", stderr);
  exit(1);
}

void *sim__new(size_t size) { return must(calloc(1, size)); }

void *sim__grow(void *old, size_t size) { return must(realloc(old, size)); }
