-- Policies that take away what others stand on.
local files = require "support.files"

local function ruined(ruin, env)
  return { env = env, script = [[
    local uv, collect, cowrap = require "luv", collectgarbage, coroutine.wrap
    r:on("connection", function(_, s)
      s:on("data", function(chunk)
        collect()
        log("done", { chunk = chunk, kept = #r:sockets() })
      end)
      s:write("x", function() end)
    end)
    host.on("unload", function() log("unloaded") end)
    ]] .. ruin .. [[
    r:connect()
  ]] }
end

return {
  ["empties _G"] = ruined [[
    local next, setmetatable, error = next, setmetatable, error
    for k in next, _G do _ENV[k] = nil end
    setmetatable(_ENV, { __index = error, __newindex = error })]],
  ["replaces every global"] = ruined [[
    for k in next, _G do if k ~= "_G" then _G[k] = error end end
    _G = nil]],
  ["empties package.loaded and package"] = ruined [[
    for k in next, package.loaded do package.loaded[k] = nil end
    for k in next, package do package[k] = false end]],
  ["replaces package.loaded"] = ruined [[
    for k in next, package.loaded do package.loaded[k] = error end
    package.loaded = nil package.searchers = nil package.path = {}]],
  ["replaces the metatable of strings"] = ruined [[
    local mt = getmetatable ""
    for k in next, mt do mt[k] = error end
    mt.__gc, mt.__close, mt.__mode, mt.__name = error, error, "k", {}
    debug.setmetatable("", { __index = error, __call = error })]],
  ["gives all types metatables"] = ruined [[
    local mt = { __index = error, __call = error,
      __gc = error, __eq = error, __name = 1, __metatable = false }
    for _, v in next, { 1, true, print, coroutine.create(print) } do
      debug.setmetatable(v, mt)
    end
    debug.setmetatable(nil, mt)]],
  ["replaces pcall, error and coroutine"] = ruined [[
    for k in next, coroutine do coroutine[k] = error end
    pcall, xpcall, error, setmetatable, tostring = nil, nil, nil, nil, nil
    debug.traceback = function() forever() end]],
  ["stops the collector"] = ruined [[
    collectgarbage "stop"
    for _ = 1, 1000 do local t = { {}, {} } end]],
  ["has a generational collector"] = ruined [[
    collectgarbage("generational", 1, 1)
    for i = 1, 20000 do local t = setmetatable({ i }, { __gc = next }) end
    collectgarbage("incremental", 1000, 1, 1)]],
  ["calls os.exit and debug.sethook"] = ruined [[
    assert(not pcall(os.exit)) assert(not pcall(os.exit, true, true))
    assert(not pcall(debug.sethook))
    assert(not pcall(debug.sethook, print, "l"))
    assert(not pcall(debug.sethook, coroutine.create(print), print, "", 1))
    assert(not pcall(uv.run)) assert(not pcall(uv.loop_close))]],
  ["closes luv's handles that are not its own"] = ruined [[
    uv.walk(function(h) if not h:is_closing() then h:close() end end)
    uv.update_time()
    pcall(uv.stop)]],
  ["changes the locale and the directory"] = ruined([[
    assert(os.setlocale("comma", "numeric") or not os.getenv "LOCPATH")
    uv.chdir "/"]], files.commaLocale),
}
