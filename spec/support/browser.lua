-- A real browser for `make interop`: Debian's Chromium without a window, driven
-- by WebDriver (and Chromium's own commands) over HTTP on loopback. Each test
-- has a browser of its own, which ends with the test.

local json = require "dkjson"
local real = require "support.real"
local support = require "support"

local browser = {}

local page = {}
local pageMeta = { __name = "support.browser", __index = page }

-- Asks the driver.
local function ask(self, method, path, body)
  local peer = support.connect(self.port)
  local text = method == "POST" and json.encode(body or {}) or ""
  if text == "[]" then text = "{}" end
  peer:write(("%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
    .. "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")
    :format(method, path, self.port, #text, text))
  local status, head = peer:take "^HTTP/1.1 (%d+).-(\r\n.-\r\n)\r\n"
  local length = tonumber(head:lower():match "\ncontent%-length: *(%d+)")
  support.run(function() return #peer.received >= length or peer.closed end)
  local answer = json.decode(peer.received)
  peer:close()
  if status ~= "200" then
    error(method .. " " .. path .. ": " .. answer.value.message, 3)
  end
  return answer.value
end

--- Starts a browser that has no page yet.
-- @return it
function browser.new()
  -- A driver waits for its browsers to end, and these end with the pipe.
  local driver = real.starts(real.find("chromedriver", "chromium-driver"),
    { "--port=0" }, { env = { HOME = support.tmpdir() } })
  local self = setmetatable({
    port = math.tointeger(driver:waitFor "successfully on port (%d+)"),
    errors = {}, requests = {},
  }, pageMeta)
  local wanted = {
    browserName = "chrome",
    ["goog:loggingPrefs"] = { browser = "ALL", performance = "ALL" },
    ["goog:chromeOptions"] = {
      binary = real.find("chromium", "chromium"),
      args = { "--headless=new", "--no-sandbox", "--disable-gpu",
        "--disable-dev-shm-usage", "--hide-scrollbars",
        "--disable-background-networking", "--remote-debugging-pipe" },
    },
  }
  self.session = ask(self, "POST", "/session",
    { capabilities = { alwaysMatch = wanted } }).sessionId
  support.atEnd(function()
    pcall(ask, self, "DELETE", "/session/" .. self.session)
    driver:kill()
    driver:wait()
  end)
  return self
end

--- One of WebDriver's commands for the session.
function page:ask(method, path, body)
  return ask(self, method, "/session/" .. self.session .. path, body)
end

--- One of Chromium's own commands.
function page:command(name, params)
  return self:ask("POST", "/goog/cdp/execute", { cmd = name,
    params = setmetatable(params or {}, { __jsontype = "object" }) })
end

--- Runs a script in the page.
-- @param script the body of a function
-- @param ... its `arguments`
-- @return what it returns
function page:run(script, ...)
  local args = setmetatable({ ... }, { __jsontype = "array" })
  return self:ask("POST", "/execute/sync", { script = script, args = args })
end

--- Opens a page.
-- @param options nil or a table: `width`, `height`, `dark`
function page:open(url, options)
  options = options or {}
  self.origin = url:match "^%w+://[^/]+"
  self:size(options.width or 1280, options.height or 900)
  self:scheme(options.dark)
  self:ask("POST", "/url", { url = url })
end

--- Makes the view as large as this.
function page:size(width, height)
  self:command("Emulation.setDeviceMetricsOverride", { width = width,
    height = height, deviceScaleFactor = 1, mobile = false })
end

--- Makes the scheme dark, or light.
function page:scheme(dark)
  self:command("Emulation.setEmulatedMedia", { features = { {
    name = "prefers-color-scheme", value = dark and "dark" or "light" } } })
end

--- The text of what a selector finds first, or nil.
function page:text(selector)
  return self:run([[const found = document.querySelector(arguments[0]);
    return found && found.textContent]], selector)
end

--- Waits until a script returns something true.
-- @return it
function page:waitFor(script, ...)
  local args, value = table.pack(...), nil
  local ok = pcall(support.eventually, function()
    value = self:run(script, table.unpack(args, 1, args.n))
    return value and value ~= json.null
  end)
  if not ok then
    error(("it never became true: %s\nThe page says: %s\nErrors: %s"):format(
      script, self:run "return document.body.innerText",
      table.concat(self:problems(), "\n")), 2)
  end
  return value
end

--- Clicks at what a selector finds first.
function page:click(selector)
  local found = self:ask("POST", "/element",
    { using = "css selector", value = selector })
  self:ask("POST", "/element/" .. select(2, next(found)) .. "/click")
end

--- Gives a field or a choice another value, as if by hand.
function page:set(selector, value)
  self:run([[
    const field = document.querySelector(arguments[0]);
    field.value = arguments[1];
    for (const event of ["input", "change"]) {
      field.dispatchEvent(new Event(event));
    }]], selector, value)
end

--- Presses keys, one after another.
-- @param ... characters; "\u{E004}" is Tab, "\u{E007}" Enter
function page:press(...)
  local actions = {}
  for _, key in ipairs { ... } do
    actions[#actions + 1] = { type = "keyDown", value = key }
    actions[#actions + 1] = { type = "keyUp", value = key }
  end
  self:ask("POST", "/actions", { actions = {
    { type = "key", id = "keyboard", actions = actions } } })
end

--- What went wrong so far: errors of scripts and of the network, violations of
-- the Content-Security-Policy, requests to anybody but the page's origin.
-- @return an array of texts
function page:problems()
  for _, each in ipairs(self:ask("POST", "/se/log", { type = "browser" })) do
    table.insert(self.errors, each.message)
  end
  local log = self:ask("POST", "/se/log", { type = "performance" })
  for _, each in ipairs(log) do
    local event = json.decode(each.message).message
    local request = event.method == "Network.requestWillBeSent"
      and event.params.request
    if request and not request.url:find "^data:" then
      local origin, path = request.url:match "^(%w+://[^/]+)(.*)$"
      table.insert(self.requests, path)
      if origin ~= self.origin then
        table.insert(self.errors, "a request to " .. request.url)
      end
    end
  end
  return self.errors
end

return browser
