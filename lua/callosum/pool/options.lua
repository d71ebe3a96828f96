-- The options of a pool, as callosum.options describes them: name, type, range,
-- default, and for the manual and the annotations, which are generated from
-- this, unit and description.

local COUNT = 0x7fffffff
local MS = 0xffffffff -- the longest interval of a rover

return {
  { name = "name", type = "string", max = 255, default = "main", text = [[
What its metrics are known by; pools of one name are counted together]] },
  { name = "maxSlots", type = "integer", min = 1, max = COUNT, default = 100,
    text = "How many connections the pool holds at most" },
  { name = "maxPerServer", type = "integer", min = 1, max = COUNT,
    text = "How many of them may be to one server; any number if left out" },
  { name = "checkout", type = "string", default = "lowestFast",
    oneOf = { "lowestFast", "lowest", "random", "leastRecent", "ewma" },
    text = [[
Which idle connection is lent out: the one with the lowest slot, but those of
slow servers last (`lowestFast`); the one with the lowest slot, whatever its
server; a random one; the one that has been idle longest; or (`ewma`) of three
random ones the one whose server's leases have been shorter lately. A server is
slow if its leases have taken more than twice as long lately as those of the
median server. A lease that failed counts as a second longer: one that ended
with its connection, or was returned as failed]] },
  { name = "keepUnsolicited", type = "boolean", default = false, text = [[
Whether unsolicited bytes are kept for the next borrower: those that arrive on
an idle connection that was lent out before, such as a response that came too
late. If false, the connection is closed]] },
  { name = "maxWaiting", type = "integer", min = 0, max = COUNT,
    default = 1000,
    text = "How many requests for a connection may be queued" },
  { name = "waitTimeout", type = "integer", min = 0, max = COUNT, unit = "ms",
    default = 5000,
    text = "How long a request waits in the queue unless it says otherwise" },
  { name = "target", type = "integer", min = 0, max = COUNT, text = [[
With fewer connections than this the pool is filling; `maxSlots` if left
out]] },
  { name = "fillInterval", type = "integer", min = 1, max = MS, unit = "ms",
    orFalse = true, default = 100, text = [[
While the pool is filling, the time from the end of one attempt to the next, if
that is less than the rover's own interval. If false, it always is the rover's
own]] },
  { name = "maxInterval", type = "integer", min = 1, max = MS, unit = "ms",
    orFalse = true, default = 45000, text = [[
The limit up to which the interval grows while the pool is full and connections
are rejected. It shrinks when one is kept, is reset when a server is added, and
does not count while the pool is filling, unless 30 in a row are rejected. If
false, it does not grow]] },
  { name = "jitter", type = "number", min = 0, max = 1, default = 0.2,
    text = "How far these intervals and pauses are spread" },
  { name = "backoff", type = "integer", min = 1, max = MS, unit = "ms",
    orFalse = true, default = 1000, text = [[
How long an unreachable server is paused, doubled each time in a row; each
success takes back one doubling. A server that ends a connection sooner than
this, before it was lent out, counts as unreachable too. If false, servers are
not paused]] },
  { name = "maxBackoff", type = "integer", min = 1, max = MS, unit = "ms",
    default = 10000, text = "How long such a pause is at most" },
}
