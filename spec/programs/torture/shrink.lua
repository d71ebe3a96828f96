-- luacheck: globals shrink

require "callosum.rover".new {}

-- Returns what has a large block of Lua's shrink to a small one, once there is
-- none of that size left.
function shrink()
  local large, hollow = {}, {}
  for i = 1, 2048 do large[i] = i end
  for i = 2, 2048 do large[i] = nil end
  for i = 1, 40000 do hollow[i] = {} end
  -- These go now, and leave blocks of another size.
  for i = 1, 100 do hollow[i + 40000] = { key = i } end
  for i = 1, 100 do hollow[i + 40000] = nil end
  collectgarbage()
  return function()
    pcall(function()
      for _, each in ipairs(hollow) do each[1] = true end
    end)
    pcall(rawset, large, "key", true)
  end
end
