/* Private to src/lua and src/host: the module callosum.metrics. */
#ifndef LUA_BIND_METRICS_H
#define LUA_BIND_METRICS_H

#include <lua.h>

#define ROVER__LUA_COUNTER_TYPE "callosum.counter"
#define ROVER__LUA_GAUGE_TYPE "callosum.gauge"
#define ROVER__LUA_HISTOGRAM_TYPE "callosum.histogram"

/* Pushes the module. */
void rover__lua_open_metrics(lua_State *L);

#endif
