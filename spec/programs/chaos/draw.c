#include "chaos.h"

static struct sim__random stream;

void draw_start(void) { stream = sim__random_stream("chaos", 0); }

uint64_t draw(uint64_t bound) { return sim__random_below(&stream, bound); }

uint64_t draw_in(uint64_t least, uint64_t most) {
  return least + draw(most - least + 1);
}

bool one_in(unsigned n) { return n > 0 && draw(n) == 0; }

uint64_t draw_log(uint64_t least, uint64_t most) {
  uint64_t top = least;
  unsigned doublings = 0;

  while (top < most) top = top ? top * 2 : 1, doublings++;
  top = least;
  for (uint64_t i = draw(doublings + 1); i > 0; i--) top = top ? top * 2 : 1;
  return draw_in(least, top < most ? top : most);
}

uint64_t draw_odd(uint64_t least, uint64_t most) {
  return one_in(4) ? draw_log(least, most) : 0;
}

uint64_t draw_size(void) {
  return one_in(8) ? draw_log(1, 1 << 21) : draw_log(1, 1 << 17);
}
