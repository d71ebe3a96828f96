-- What callosum-neighbours(7) says, for the specs that show it:
--
--   local neighbours = require "support.neighbours"
--   local row, complete = neighbours.section("HAPROXY", it)
--   row("It has a title", function(example)
--     local conf = example("haproxy.cfg", { ["192.0.2.1"] = "127.0.0.1" })
--   end)
--   complete()
--
-- In the page each row is a subsection. The comment `\" spec: FILE` names the
-- spec that shows it, and each display is an example, which a comment
-- `\" example: NAME` precedes.

local json = require "dkjson"
local command = require "support.command"
local files = require "support.files"
local http = require "support.http"
local process = require "support.process"

local PAGE = "src/cli/callosum-neighbours.7"

local neighbours = {}

-- As a reader sees it, and pastes it.
local function plain(line)
  return (line:gsub("\\&", ""):gsub("\\%-", "-"):gsub("\\e", "\\"))
end

--- Reads a page.
-- @param path which (the one in the source tree)
-- @return an array of rows: `section`, `title`, `spec`, and `examples`, by
--   their names; and a table of sections: what is said before their first rows
function neighbours.read(path)
  local rows, said = {}, {}
  local section, row, name, lines
  local function fail(message, line)
    error(("%s: %s: %s"):format(path or PAGE, message, line), 3)
  end
  for line in io.lines(path or PAGE) do
    local word, rest = line:match '^%.(%S+) ?(.*)$'
    local key, value = line:match '^%.\\" (%l+): (.+)$'
    if lines and word ~= "Ed" then
      lines[#lines + 1] = plain(line) .. "\n"
    elseif lines then
      row.examples[name] = table.concat(lines)
      name, lines = nil, nil
    elseif word == "Sh" then
      section, row, said[rest] = rest, nil, ""
    elseif word == "Ss" then
      row = { section = section, title = plain(rest), examples = {} }
      rows[#rows + 1] = row
    elseif key == "spec" then
      row.spec = value
    elseif key == "example" then
      if row.examples[value] then fail("two examples of one name", value) end
      name = value
    elseif word == "Bd" and row then
      if not name then fail("an example has no name", row.title) end
      lines = {}
    elseif not row and section then
      said[section] = said[section] .. line .. "\n"
    end
  end
  return rows, said
end

-- Replaces texts, the longest first. What takes the place of one, such as a
-- port, is not looked at again.
local function replaced(text, changes)
  local list, found, parts, at = {}, {}, {}, 1
  for from in pairs(changes or {}) do list[#list + 1] = from end
  table.sort(list, function(x, y) return #x > #y end)
  local function take()
    for _, from in ipairs(list) do
      if text:sub(at, at + #from - 1) == from then
        found[from] = true
        return #from, tostring(changes[from])
      end
    end
    return 1, text:sub(at, at)
  end
  while at <= #text do
    local length, part = take()
    parts[#parts + 1] = part
    at = at + length
  end
  for _, from in ipairs(list) do
    if not found[from] then
      error(("the example has no %q:\n%s"):format(from, text), 3)
    end
  end
  return table.concat(parts)
end

-- Ours ----------------------------------------------------------------------

-- Has a child's methods ask it by its admin socket.
local function asked(child, path, ready)
  command.logged(child, ready)
  --- The counters of its only relay or front.
  function child.stats()
    local status = json.decode((http.get(path, "/status")))
    return (status.relays[1] or status.fronts[1]).stats
  end
  --- What it has warned about, and errors.
  function child.complaints()
    local list = {}
    for _, event in ipairs(command.events(child)) do
      if event.level == "warn" or event.level == "error" then
        list[#list + 1] = event.message .. ": " .. tostring(event.error)
      end
    end
    return list
  end
  return child
end

--- Runs a policy.
-- @param text its text
-- @return the child, with functions: `stats`, the counters of its only relay
--   or front, and `complaints`, its warnings and errors, texts
function neighbours.policy(text)
  local child, path = http.policy(text)
  return asked(child, path, "policy loaded")
end

--- The arguments of a command in an example: `$ callosum-rover run ...`.
function neighbours.arguments(text)
  local words = {}
  for word in text:gsub("\\\n", " "):gmatch "%S+" do
    words[#words + 1] = word
  end
  assert(words[1] == "$" and words[2] == "callosum-rover", text)
  return table.move(words, 3, #words, 1, {})
end

--- Runs an example that is such a command.
-- @return the child, as `policy` does
function neighbours.command(text)
  local path = files.tmpdir() .. "/admin.sock"
  local args = neighbours.arguments(text)
  local all = { args[1], "--admin", path, "--log-format", "json" }
  table.move(args, 2, #args, #all + 1, all)
  return asked(command.command(all), path,
    args[1] == "front" and "listening" or "policy loaded")
end

--- Runs a program to its end.
-- @return what it wrote
function neighbours.output(...)
  -- What a sanitizer wants preloaded is for busted.
  local child = process.spawn((...), { select(2, ...) },
    { env = { LD_PRELOAD = false } })
  child:wait()
  return child.output
end

-- The page ------------------------------------------------------------------

--- Begins the specs of a section.
-- @param name its name
-- @param it busted's
-- @return `row`, `complete` and `seen`, functions. `row` makes a test of a row,
--   by its title, and calls a function with `example`. That returns the text of
--   one of its examples with some texts replaced, each of which must be there:
--   addresses, ports and paths; or, with a third argument, one of the row with
--   that title. `complete` makes a test that all rows and
--   examples have been shown. `seen` makes one that the page names a version.
function neighbours.section(name, it)
  local rows, said = neighbours.read()
  assert(said[name], "the page has no such section: " .. name)
  local byTitle, left = {}, {}
  for _, each in ipairs(rows) do
    if each.section == name then
      byTitle[each.title] = each
      left[each.title] = true
      for label in pairs(each.examples) do
        left[each.title .. ": " .. label] = true
      end
    end
  end

  local function example(title, label, changes)
    local text = byTitle[title].examples[label]
    if not text then error("the row has no example " .. label, 3) end
    left[title .. ": " .. label] = nil
    return replaced(text, changes)
  end

  local function row(title, fn)
    if not byTitle[title] then
      error(("%s: the page has no row %q"):format(name, title), 2)
    end
    it(title, function()
      left[title] = nil
      return fn(function(label, changes, other)
        return example(other or title, label, changes)
      end)
    end)
  end

  local function complete()
    it("is shown to its last example", function()
      local list = {}
      for each in pairs(left) do list[#list + 1] = each end
      table.sort(list)
      if #list > 0 then error("not shown:\n" .. table.concat(list, "\n")) end
    end)
  end

  local function seen(version)
    it("is of a version that the page knows", function()
      local known = said[name]:match "Seen with.-%.\n" or ""
      local pattern = "%f[%w.]" .. version:gsub("%.", "%%.") .. "%f[^%w.]"
      if not known:find(pattern) then
        error(("the page does not say %s, but: %s"):format(version, known))
      end
    end)
  end
  return row, complete, seen
end

return neighbours
