-- Policies that change metatables, of every type there is, to what never ends,
-- and then are over their budget, raise what they like, and are reloaded.
local events = { "index", "newindex", "call", "tostring", "name", "eq", "lt",
  "le", "len", "concat", "unm", "add", "sub", "idiv", "band", "bnot", "pairs",
  "close", "mode", "metatable" }

local function changed(what, code, may)
  local fields = {}
  for i, event in ipairs(events) do
    fields[i] = "__" .. event .. " = forever"
  end
  return { budget = 100, errors = { "the time budget of 100 ms is over" },
    may = may or "error object is a ", script = ([[
      local setmetatable = debug.setmetatable
      local error, collect = error, collectgarbage
      local mt = { %s }
      local rounds, timer = 0, require "luv".new_timer()
      local raised = { %s }
      local function change(s) %s end
      r:on("connection", function(_, s)
        s.state.kept = 1
        timer:start(0, 1, function()
          rounds = rounds + 1
          if rounds == 1 then change(s) forever() end
          if raised[rounds - 1] ~= nil then error(raised[rounds - 1], 0) end
          if rounds < 5 then collect() forever() end
          timer:stop()
          log "done"
        end)
      end)
      r:connect()
    ]]):format(table.concat(fields, ", "), what, code) }
end

return {
  ["changes that of strings"] = changed([["x"]], [[
    local of = getmetatable ""
    for event, fn in next, mt do of[event] = fn end]], "^x$"),
  ["changes that of numbers"] = changed("0", "setmetatable(0, mt)"),
  ["changes that of booleans"] = changed("true", "setmetatable(true, mt)"),
  ["changes that of nil"] = changed("", "setmetatable(nil, mt)"),
  ["changes that of functions"] = changed("print", "setmetatable(print, mt)"),
  ["changes that of coroutines"] = changed("(coroutine.create(print))",
    "setmetatable(coroutine.create(print), mt)"),
  ["changes that of a table"] = changed("{}", "setmetatable(raised[1], mt)"),
  ["changes those of a socket and its rover"] = changed("r", [[
    for _, object in next, { s, r } do
      local of = debug.getmetatable(object)
      of.__tostring, of.__name = forever, forever
    end]]),
  ["changes those of luv's handles"] = changed("timer", [[
    local of = debug.getmetatable(timer)
    of.__tostring, of.__name, of.__index = forever, forever, { start = 1,
      stop = timer.stop }]]),
  ["changes that of files"] = changed("io.stdout", [[
    local of = debug.getmetatable(io.stdout)
    of.__tostring, of.__name = forever, forever]]),
  ["changes what its errors are"] = changed([[(select(2, pcall(error,
    setmetatable({}, { __tostring = function(e) error(e) end }))))]], ""),
  ["changes that of what it carries"] = changed("", [[
    host.carry = { {} }
    setmetatable(host.carry[1], nil)
    s.state = { { n = 1 } }]]),
}
