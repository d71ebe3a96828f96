/* Private to src/sim: a run, for the Lua modules that drive it. */
#ifndef SIM_STAGE_H
#define SIM_STAGE_H

#include <lua.h>

/* Pushes the table `stage`: functions that start a run of virtual machines in
 * this process, let time pass, do to them what a scenario asks for, and tell
 * what there is to see. `lua_path` is the folder of our modules. */
void sim__stage_push(lua_State *L, const char *lua_path);

#endif
