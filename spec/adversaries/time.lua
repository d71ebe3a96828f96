-- Policies that do not come to an end.
local function endless(code, descriptors)
  return { budget = 100, descriptors = descriptors,
    errors = { "the time budget of 100 ms is over" },
    script = ([[
      r:on("connection", function(_, s)
        s:on("data", function() log "done" end)
        s:write "x"
        %s
      end)
      r:connect()
      later(function() r:connect() end, 1)
    ]]):format("if #r:sockets() == 1 and r:stats().connections == 1 then "
      .. code .. " end") }
end

return {
  ["loops for ever"] = endless "forever()",
  ["loops in pcall for ever"] = endless "while true do pcall(forever) end",
  ["recurses for ever"] = endless [[
    local function f() pcall(f) pcall(f) end
    while true do f() end]],
  ["calls itself at the end for ever"] = endless [[
    local function f(...) return f(...) end
    f()]],
  ["raises for ever"] = endless [[
    while true do
      pcall(error, setmetatable({}, { __tostring = error }))
      xpcall(error, error)
    end]],
  ["makes coroutines for ever"] = endless [[
    while true do coroutine.wrap(function() coroutine.yield() end)() end]],
  ["collects for ever"] = endless [[
    while true do collectgarbage() end]],
  ["calls the host for ever"] = endless([[
    while true do
      r:connect() r:stop() r:start() r:stats() r:sockets() r:servers()
      host.reload() pcall(rover.new, {}) pcall(r.on, r, "x", print)
    end]], 4096),
  -- A long function in C is not broken into: the call ends when it has.
  ["looks for a pattern that takes long"] = endless [[
    local from = os.clock()
    repeat
      ("a"):rep(150):find(("a*"):rep(3) .. "b")
    until os.clock() - from > 0.1
    forever()]],
}
