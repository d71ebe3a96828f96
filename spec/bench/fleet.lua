-- Fleets of real processes, for the programs behind `make balance`: starts
-- them, and counts their connections.

local uv = require "luv"

local fleet = { build = arg[1] or "build" }

local children, adopted = {}, {}

--- Takes on a process that one of ours has started.
function fleet.adopt(pid) adopted[pid] = true end

--- Kills these.
function fleet.killAdopted()
  for pid in pairs(adopted) do uv.kill(pid, "sigkill") end
end

--- Ends this program, and all that it has started.
function fleet.die(message)
  for child in pairs(children) do child:kill "sigkill" end
  fleet.killAdopted()
  io.stderr:write("balance: ", message, "\n")
  os.exit(1)
end

--- Ends it all after so many seconds.
function fleet.limit(seconds)
  uv.new_timer():start(seconds * 1000, 0, function()
    fleet.die(("it took more than %d seconds"):format(seconds))
  end)
end

--- Starts a program of the build.
-- @param program its name
-- @param args its arguments
-- @param line called with what it writes, or nil
-- @param ended called when it has ended, or nil; fails if not with 0
-- @param log called with what it logs, or nil; then that is shown
-- @return its handle and its standard input
function fleet.spawn(program, args, line, ended, log)
  local words = {}
  for i, each in ipairs(args) do words[i] = tostring(each) end
  local input, out, err = uv.new_pipe(), uv.new_pipe(), log and uv.new_pipe()
  local handle, message
  handle, message = uv.spawn(fleet.build .. "/" .. program, {
    args = words, stdio = { input, out, err or 2 },
  }, function(code, signal)
    children[handle] = nil
    handle:close()
    if not input:is_closing() then input:close() end
    if code ~= 0 or signal ~= 0 then
      fleet.die(("%s %s ended with %d"):format(program,
        table.concat(words, " "), code + signal))
    end
    if ended then ended() end
  end)
  if not handle then fleet.die(message) end
  children[handle] = true
  out:read_start(function(_, chunk)
    if not chunk then out:close() elseif line then line(chunk) end
  end)
  if err then
    err:read_start(function(_, chunk)
      if chunk then log(chunk) else err:close() end
    end)
  end
  return handle, input
end

--- Turns the loop until all programs have ended.
function fleet.wait()
  repeat uv.run "once" until not next(children)
end

function fleet.freePorts(count)
  local handles, ports = {}, {}
  for i = 1, count do
    handles[i] = uv.new_tcp()
    handles[i]:bind("127.0.0.1", 0)
    ports[i] = handles[i]:getsockname().port
  end
  for _, handle in ipairs(handles) do handle:close() end
  return ports
end

--- How many connections there are to each local port. A probe that is being
-- made is one of them.
function fleet.connections()
  local counts = {}
  for line in io.lines "/proc/net/tcp" do
    local port = line:match "^%s*%d+: %x+:(%x+) %x+:%x+ 01 "
    if port then
      port = tonumber(port, 16)
      counts[port] = (counts[port] or 0) + 1
    end
  end
  return counts
end

--- Turns the loop for so long.
function fleet.sleep(ms)
  local timer, over = uv.new_timer(), false
  timer:start(ms, 0, function()
    timer:close()
    over = true
  end)
  repeat uv.run "once" until over
end

return fleet
