#define _GNU_SOURCE /* mremap() */
#include "arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A failed assertion of its lists would print and abort. */
#ifndef NDEBUG
#define NDEBUG
#endif
#include <utlist.h>

/* The memory of one Lua state, separate from all others: with malloc(), the
 * blocks of one generation would be interleaved with those of the next and of
 * sockets that outlive both, and the process would grow with every reload.
 *
 * It comes in segments of 64 pages, the first of which is the segment's header.
 * A span is one, four or sixteen consecutive pages of blocks of one size;
 * larger blocks have pages of their own, and the largest a mapping of their
 * own. Once all blocks of a span are free, its pages can be used for any other.
 * Some free pages are kept, as many are in use again by the next collection;
 * the rest is returned to the system.
 *
 * Lua passes the size of a block that it frees, so blocks need no header. */

enum {
  PAGE = 4096, /* whatever the system's is */
  PAGES = 64,
  SEGMENT = PAGES * PAGE,
  STEP = 16, /* all sizes are multiples of it */
  FINE = 128, /* up to here sizes are a STEP apart, ... */
  SMALL = 256, /* ... up to here two, and beyond as in SPLITS */
  SPANNED_MAX = 16384,     /* the largest block that shares a span, ... */
  PAGED_MAX = SEGMENT / 2, /* ... and that shares a segment */
  SPLITS = 6,              /* see class_of() */
  SPLITS_MIN = 4,
  SMALLS = FINE / STEP + (SMALL - FINE) / (2 * STEP),
  CLASSES = SMALLS + 3 * SPLITS,
  TRIES = 32,                /* segments to search for free pages */
  IDLE = 1024 * 1024 / PAGE, /* free pages to keep, ... */
  IDLE_SHARE = 3, /* ... and how many more for each used one, ... */
  PURGE = 64,     /* ... checked whenever so many have become free */
  SPARES = 8      /* free mappings */
};

/* A block that is free. */
struct block {
  struct block *next;
};

/* While it has room it is in its class's list. */
struct span {
  struct span *prev, *next;
  struct block *free;
  char *fresh; /* behind it no block was ever used */
  unsigned short size, live, count;
  unsigned char class, pages;
};

/* One bit per page: in use, and backed by memory because it is or was in
 * use. */
struct segment {
  struct segment *prev, *next;
  uint64_t used, backed;
  unsigned char first[PAGES]; /* of the span that a page belongs to */
  struct span spans[PAGES];   /* by their first pages */
};
_Static_assert(sizeof(struct segment) <= PAGE, "the header has one page");

/* A large block that is free. */
struct spare {
  char *at;
  size_t pages;
};

struct host__arena {
  struct segment *segments;   /* those with free pages first */
  size_t headers, used, idle; /* pages; idle ones are free and backed */
  size_t given;               /* pages freed since idle ones were checked */
  struct span *open[CLASSES];
  struct spare spares[SPARES];
  unsigned spare_count;
  size_t bytes; /* of malloc()'s, where that is used */
};

struct host__arena *host__arena_new(void) {
  return calloc(1, sizeof(struct host__arena));
}

size_t host__arena_held(const struct host__arena *arena) {
  return (arena->headers + arena->used + arena->idle) * PAGE + arena->bytes;
}

static bool may_hold(const struct host__arena *arena, size_t more, size_t max) {
  size_t held = host__arena_held(arena);
  return held <= max && more <= max - held;
}

/* The sanitizers and valgrind know malloc()'s blocks, but not those in a
 * segment. make valgrind defines NO_CHUNKS. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_CHUNKS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(NO_CHUNKS)

void host__arena_free(struct host__arena *arena) { free(arena); }

void host__arena_trim(struct host__arena *arena) { (void)arena; }

void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max) {
  if (size > old && !may_hold(arena, size - old, max)) return NULL;
  void *moved = NULL;
  if (size == 0) free(block);
  else moved = realloc(block, size);
  if (moved || size == 0) arena->bytes += size - old;
  return moved;
}

#else

/* -- Segments ------------------------------------------------------------- */

static void *map(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static size_t misaligned(const char *memory) {
  return (uintptr_t)memory % SEGMENT;
}

/* Mappings are mostly adjacent, so the next one will be aligned too. */
static char *map_aligned(void) {
  char *memory = map(SEGMENT);
  if (!memory || !misaligned(memory)) return memory;
  munmap(memory, SEGMENT);
  memory = map(2 * (size_t)SEGMENT);
  if (!memory) return NULL;
  size_t before = SEGMENT - misaligned(memory);
  if (before < SEGMENT) munmap(memory, before);
  else before = 0;
  munmap(memory + before + SEGMENT, SEGMENT - before);
  return memory + before;
}

static bool has_room(const struct segment *segment) {
  return segment->used != UINT64_MAX;
}

static bool segment_new(struct host__arena *arena) {
  struct segment *segment = (struct segment *)map_aligned();
  if (!segment) return false;
  /* Huge pages would undo the return of single pages. */
#ifdef MADV_NOHUGEPAGE
  madvise(segment, SEGMENT, MADV_NOHUGEPAGE);
#endif
  segment->used = segment->backed = 1; /* the header */
  arena->headers++;
  DL_PREPEND(arena->segments, segment);
  return true;
}

/* Without __builtin_popcountll(), which is mostly a function of the compiler's,
 * far from ours in memory. */
static size_t count(uint64_t pages) {
  size_t n = 0;
  for (; pages; pages &= pages - 1) n++;
  return n;
}

static void segment_free(struct host__arena *arena, struct segment *segment) {
  /* The list is whole. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
  DL_DELETE(arena->segments, segment);
  arena->headers--;
  arena->idle -= count(segment->backed & ~segment->used);
  munmap(segment, SEGMENT);
}

static void free_spares(struct host__arena *arena) {
  while (arena->spare_count > 0) {
    const struct spare *spare = &arena->spares[--arena->spare_count];
    arena->idle -= spare->pages;
    munmap(spare->at, spare->pages * PAGE);
  }
}

void host__arena_free(struct host__arena *arena) {
  free_spares(arena);
  while (arena->segments) segment_free(arena, arena->segments);
  free(arena);
}

static char *page_at(struct segment *segment, unsigned page) {
  return (char *)segment + (size_t)page * PAGE;
}

/* The bits of `length` pages from `first` on. */
static uint64_t bits(unsigned first, unsigned length) {
  return (UINT64_MAX >> (PAGES - length)) << first;
}

/* Returns the memory of free pages. Where the system's pages are larger than
 * ours it may refuse. */
static void purge_segment(struct host__arena *arena, struct segment *segment) {
  uint64_t idle = segment->backed & ~segment->used;

  while (idle) {
    unsigned first = (unsigned)__builtin_ctzll(idle);
    /* Never all pages, as the first is the header. */
    unsigned length = (unsigned)__builtin_ctzll(~(idle >> first));
    uint64_t pages = bits(first, length);
    if (madvise(page_at(segment, first), (size_t)length * PAGE,
                MADV_DONTNEED) == 0) {
      segment->backed &= ~pages;
      arena->idle -= length;
    }
    idle &= ~pages;
  }
}

static void purge(struct host__arena *arena) {
  struct segment *segment = arena->segments, *next;

  free_spares(arena);
  for (; segment && has_room(segment); segment = next) {
    next = segment->next;
    if (segment->used == 1) segment_free(arena, segment);
    else purge_segment(arena, segment);
  }
}

/* -- Pages ---------------------------------------------------------------- */

/* The first of `length` set bits in a row, or PAGES. */
static unsigned find_row(uint64_t set, unsigned length) {
  /* A bit stays set if `have` set bits begin there; `have` doubles each
   * time. */
  for (unsigned have = 1; have < length && set;) {
    unsigned more = have < length - have ? have : length - have;
    set &= set >> more;
    have += more;
  }
  return set ? (unsigned)__builtin_ctzll(set) : PAGES;
}

/* Uses pages of the segment, those that are backed first. Returns the first of
 * them, or PAGES. */
static unsigned use_pages(struct host__arena *arena, struct segment *segment,
                          unsigned length, size_t max) {
  uint64_t idle = segment->backed & ~segment->used;
  unsigned first = find_row(idle, length);
  if (first == PAGES) first = find_row(~segment->used, length);
  if (first == PAGES) return PAGES;

  uint64_t pages = bits(first, length);
  size_t more = count(pages & ~segment->backed);
  if (more > 0 && !may_hold(arena, more * PAGE, max)) return PAGES;
  segment->used |= pages;
  segment->backed |= pages;
  arena->used += length;
  arena->idle -= length - more;
  if (has_room(segment)) return first;
  DL_DELETE(arena->segments, segment);
  DL_APPEND(arena->segments, segment);
  return first;
}

/* Whether `length` more pages are within `max`, after a purge if need be. */
static bool make_room(struct host__arena *arena, size_t pages, size_t max) {
  if (may_hold(arena, pages * PAGE, max)) return true;
  if (arena->idle > 0) purge(arena);
  return may_hold(arena, pages * PAGE, max);
}

/* Sets *out to the segment. */
static unsigned take_pages(struct host__arena *arena, unsigned length,
                           size_t max, struct segment **out) {
  struct segment *segment = arena->segments;

  for (int i = 0; i < TRIES && segment && has_room(segment); i++) {
    *out = segment;
    unsigned first = use_pages(arena, segment, length, max);
    if (first < PAGES) return first;
    segment = segment->next;
  }
  if (!make_room(arena, length + 1, max) || !segment_new(arena)) return PAGES;
  *out = arena->segments;
  return use_pages(arena, *out, length, max);
}

static void given(struct host__arena *arena, size_t pages) {
  arena->used -= pages;
  arena->idle += pages;
  arena->given += pages;
  if (arena->given < PURGE) return;
  arena->given = 0;
  if (arena->idle > IDLE + IDLE_SHARE * arena->used) purge(arena);
}

static void give_pages(struct host__arena *arena, struct segment *segment,
                       unsigned first, unsigned length) {
  if (!has_room(segment)) {
    DL_DELETE(arena->segments, segment);
    DL_PREPEND(arena->segments, segment);
  }
  segment->used &= ~bits(first, length);
  given(arena, length);
}

static struct segment *segment_of(void *block) {
  return (struct segment *)((char *)block - misaligned(block));
}

static unsigned page_of(const struct segment *segment, const void *block) {
  return (unsigned)((const char *)block - (const char *)segment) / PAGE;
}

/* -- Spans ---------------------------------------------------------------- */

/* Beyond SMALL, sizes result from splitting a span of 1, 4 or 16 pages into so
 * many blocks. There are few sizes, since a small policy has a span of nearly
 * each, most of it unused: more of them would cost it more than blocks that fit
 * better would save. */
static const unsigned char splits[SPLITS] = {12, 10, 8, 6, 5, 4};

static unsigned class_of(size_t size) {
  unsigned rounded = (unsigned)size, pages = 1, split = 0;

  if (rounded <= FINE) return (rounded - 1) / STEP;
  if (rounded <= SMALL) return FINE / STEP + (rounded - FINE - 1) / (2 * STEP);
  while (rounded > pages * PAGE / SPLITS_MIN) pages *= 4;
  while (rounded > pages * PAGE / splits[split] / STEP * STEP) split++;
  return SMALLS + (pages == 1 ? 0 : pages == 4 ? 1 : 2) * SPLITS + split;
}

static struct span span_of(unsigned class) {
  unsigned pages = 1, size;

  if (class < FINE / STEP) size = (class + 1) * STEP;
  else if (class < SMALLS) size = FINE + (class - FINE / STEP + 1) * 2 * STEP;
  else {
    unsigned split = class - SMALLS;
    for (; split >= SPLITS; split -= SPLITS) pages *= 4;
    size = pages * PAGE / splits[split] / STEP * STEP;
  }
  return (struct span){.size = (unsigned short)size,
                       .count = (unsigned short)(pages * PAGE / size),
                       .class = (unsigned char)class,
                       .pages = (unsigned char)pages};
}

static struct span *span_new(struct host__arena *arena, unsigned class,
                             size_t max) {
  struct span made = span_of(class);
  struct segment *segment;
  unsigned first = take_pages(arena, made.pages, max, &segment);
  if (first == PAGES) return NULL;
  memset(segment->first + first, (int)first, made.pages);
  struct span *span = &segment->spans[first];
  made.fresh = page_at(segment, first);
  *span = made;
  DL_PREPEND(arena->open[class], span);
  return span;
}

static void *take_spanned(struct host__arena *arena, size_t size, size_t max) {
  unsigned class = class_of(size);
  struct span *span = arena->open[class];
  if (!span) span = span_new(arena, class, max);
  if (!span) return NULL;

  struct block *block = span->free;
  if (block) {
    span->free = block->next;
  } else {
    block = (struct block *)span->fresh;
    span->fresh += span->size;
  }
  if (++span->live == span->count) DL_DELETE(arena->open[class], span);
  return block;
}

static void span_free(struct host__arena *arena, struct span *span) {
  struct segment *segment = segment_of(span);
  DL_DELETE(arena->open[span->class], span);
  give_pages(arena, segment, (unsigned)(span - segment->spans), span->pages);
}

static void give_spanned(struct host__arena *arena, void *memory) {
  struct segment *segment = segment_of(memory);
  unsigned first = segment->first[page_of(segment, memory)];
  struct span *span = &segment->spans[first];
  struct block *block = memory;

  block->next = span->free;
  span->free = block;
  if (span->live-- == span->count) DL_PREPEND(arena->open[span->class], span);
  /* The last span with room is kept, for callers that alternate between
   * allocating and freeing. */
  if (span->live > 0 || (span->prev == span && !span->next)) return;
  span_free(arena, span);
}

void host__arena_trim(struct host__arena *arena) {
  for (unsigned class = 0; class < CLASSES; class++) {
    struct span *span = arena->open[class], *next;
    for (; span; span = next) {
      next = span->next;
      if (span->live == 0) span_free(arena, span);
    }
  }
  purge(arena);
}

/* -- Large blocks --------------------------------------------------------- */

static size_t pages_for(size_t size) { return (size + PAGE - 1) / PAGE; }

/* Returns a free mapping that is at most twice as large, cut to size. */
static void *take_spare(struct host__arena *arena, size_t pages) {
  for (unsigned i = arena->spare_count; i-- > 0;) {
    struct spare spare = arena->spares[i];
    if (spare.pages < pages || spare.pages / 2 > pages) continue;
    arena->spares[i] = arena->spares[--arena->spare_count];
    arena->idle -= spare.pages;
    arena->used += pages;
    if (spare.pages > pages)
      munmap(spare.at + pages * PAGE, (spare.pages - pages) * PAGE);
    return spare.at;
  }
  return NULL;
}

static void *take_large(struct host__arena *arena, size_t size, size_t max) {
  size_t pages = pages_for(size);
  void *block = take_spare(arena, pages);
  if (block) return block;
  if (!make_room(arena, pages, max)) return NULL;
  block = map(pages * PAGE);
  if (block) arena->used += pages;
  return block;
}

static void give_large(struct host__arena *arena, void *block, size_t size) {
  size_t pages = pages_for(size);

  if (arena->spare_count == SPARES) {
    munmap(block, pages * PAGE);
    arena->used -= pages;
    return;
  }
  arena->spares[arena->spare_count++] = (struct spare){block, pages};
  given(arena, pages);
}

static void *resize_large(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max) {
  size_t from = pages_for(old), to = pages_for(size);

  if (from == to) return block;
  if (to > from && !make_room(arena, to - from, max)) return NULL;
  void *moved = mremap(block, from * PAGE, to * PAGE, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED) return NULL;
  arena->used += to - from;
  return moved;
}

/* -- Blocks --------------------------------------------------------------- */

enum kind { SPANNED, PAGED, LARGE };

static enum kind kind_of(size_t size) {
  return size <= SPANNED_MAX ? SPANNED : size <= PAGED_MAX ? PAGED : LARGE;
}

static void *take(struct host__arena *arena, size_t size, size_t max) {
  struct segment *segment;
  unsigned first;

  switch (kind_of(size)) {
    case SPANNED: return take_spanned(arena, size, max);
    case LARGE: return take_large(arena, size, max);
    default:
      first = take_pages(arena, (unsigned)pages_for(size), max, &segment);
      return first == PAGES ? NULL : page_at(segment, first);
  }
}

static void give(struct host__arena *arena, void *block, size_t size) {
  struct segment *segment;

  switch (kind_of(size)) {
    case SPANNED: give_spanned(arena, block); break;
    case LARGE: give_large(arena, block, size); break;
    default:
      segment = segment_of(block);
      give_pages(arena, segment, page_of(segment, block),
                 (unsigned)pages_for(size));
  }
}

/* Whether a block of one size can serve as one of the other. */
static bool is_same(size_t old, size_t size) {
  enum kind kind = kind_of(old);
  if (kind != kind_of(size)) return false;
  if (kind == SPANNED) return class_of(old) == class_of(size);
  return pages_for(old) == pages_for(size);
}

void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max) {
  if (size == 0) {
    if (block) give(arena, block, old);
    return NULL;
  }
  if (size > SIZE_MAX / 2) return NULL;
  if (!block) return take(arena, size, max);
  if (is_same(old, size)) return block;
  if (kind_of(old) == LARGE && kind_of(size) == LARGE)
    return resize_large(arena, block, old, size, max);

  bool shares = kind_of(old) == SPANNED;
  /* A block with pages of its own frees more than the smaller one takes. */
  void *moved = take(arena, size, size < old && !shares ? SIZE_MAX : max);
  /* In a span it can stay where it is, as that knows its size. */
  if (!moved) return shares && size < old ? block : NULL;
  memcpy(moved, block, old < size ? old : size);
  give(arena, block, old);
  return moved;
}

#endif
