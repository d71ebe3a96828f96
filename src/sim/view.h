/* Private to src/sim: what there is to see of a run, for Lua. */
#ifndef SIM_VIEW_H
#define SIM_VIEW_H

#include <lua.h>
#include <stdint.h>

struct sim__fleet;
struct sim__load;

struct sim__view {
  struct sim__fleet *fleet; /* NULL: the run has not started */
  struct sim__load *load;   /* NULL: no requests */
  uint32_t named;           /* servers that the policy was told of */
};

/* Adds functions to the table on top of the stack, which raise an error before
 * the run has started. `view` outlives the state. */
void sim__view_add(lua_State *L, struct sim__view *view);

#endif
