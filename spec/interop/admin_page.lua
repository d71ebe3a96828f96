-- The page of a host, in a real browser.

local browser = require "support.browser"
local server = require "callosum.server"
local support = require "support"

-- Keeps the slots below 9. Its arguments are the ports of its servers.
local NINE = [[
local r = require "callosum.rover".new { rovingInterval = 10 }
for i, port in ipairs { ... } do
  r:addServer("server " .. i,
    { host = "127.0.0.1", port = math.tointeger(port) })
end
r:on("connection", function(slot, socket)
  if slot > 8 then socket:close() end
end)
r:on("unreachable", function() end)
r:start()
]]

-- Starts servers, and returns their ports, as texts.
local function serve(count)
  local ports = {}
  for i = 1, count do
    local s = assert(server.new())
    s:on("connection", function() end)
    support.atEnd(function() s:close() end)
    ports[i] = tostring(select(2, s:address()))
  end
  return ports
end

-- Runs a policy, with a page at `url`.
local function run(script, args, port)
  port = port or support.freePorts(1)
  local host = support.policy(script, { args = args,
    flags = { "--admin", "127.0.0.1:" .. port } })
  support.logged(host, "admin listens")
  host.admin, host.url = port, ("http://127.0.0.1:%d/"):format(port)
  return host
end

-- Runs before the page's own script: its timers come sooner, and are counted.
local SOONER = [[
  const set = setTimeout, clear = clearTimeout;
  window.timers = new Set();
  window.setTimeout = (fn, ms) => {
    const id = set(() => { timers.delete(id); fn(); },
      ms < 5000 ? ms / 20 : ms);
    timers.add(id);
    return id;
  };
  window.clearTimeout = (id) => { timers.delete(id); clear(id); };
]]

local function open(url)
  local page = browser.new()
  page:command("Page.addScriptToEvaluateOnNewDocument", { source = SOONER })
  page:open(url)
  return page
end

-- Waits until an element has a text in it.
local function shows(page, selector, text)
  page:waitFor([[
    const found = document.querySelector(arguments[0]);
    return found && found.textContent.includes(arguments[1])]], selector, text)
end

local function isVisible(page, selector)
  return page:run(
    "return document.querySelector(arguments[0]).checkVisibility()", selector)
end

local function count(page, selector)
  return page:run(
    "return document.querySelectorAll(arguments[0]).length", selector)
end

-- How many cells of the heat map have a level.
local function cells(page, level)
  return page:run([[
    const path = document.querySelector(".cell" + arguments[0]);
    return path.getAttribute("d").split("M").length - 1]], level)
end

-- The page was without fault, and asked nobody but its host, and for no more
-- than it should.
local function isClean(page)
  assert.same({}, page:problems())
  assert.is_true(#page.requests >= 3)
  for _, path in ipairs(page.requests) do
    assert.is_truthy(path == "/" or path:find "^/status%?"
      or path:find "^/history", path)
  end
end

-- Text that is hard to read, by the ratio that WCAG 2 asks for.
local FAINT = [[
  const light = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).map((x) => x / 255).map((x) =>
      x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 &&
      n.data.trim());
    if (!hasText || !element.checkVisibility()) continue;
    if (element.closest(".in, script, noscript")) continue;
    const style = getComputedStyle(element);
    const color = element.closest("svg") ? style.fill : style.color;
    const both = [light(color), light(ground(element))].sort((x, y) => y - x);
    const ratio = (both[0] + .05) / (both[1] + .05);
    if (ratio < 4.5) found.push(`${element.textContent}: ${ratio.toFixed(2)}`);
  }
  return found;
]]

-- What can be operated, or is a picture, and has no name.
local NAMELESS = [=[
  const parts = document.querySelectorAll(
    "button, select, input, [role=img], [tabindex='0']");
  const named = (e) => e.labels?.length || e.ariaLabel || e.textContent.trim();
  const labelled = (e) => (e.getAttribute("aria-labelledby") || "").split(" ")
    .some((id) => document.getElementById(id)?.textContent.trim());
  return [...parts].filter((e) => !named(e) && !labelled(e))
    .map((e) => e.outerHTML);
]=]

local TAB, ENTER, LEFT = "\u{E004}", "\u{E007}", "\u{E012}"

describe("the page of a host", function()
  it("shows whether it is balanced", function()
    local host = run(NINE, serve(3))
    local page = open(host.url)
    shows(page, "#sentence", "27 connections to 3 servers")
    assert.equal("1.00", page:text "#figure")
    assert.equal("balanced", page:text "#said")
    assert.equal("1.00 balanced – callosum-rover",
      page:run "return document.title")
    assert.same({ 3, 27 }, { cells(page, 0), cells(page, 3) })
    assert.same({
      "server 1 | ●up | 9 | 33.3 % | 0–8",
      "server 2 | ●up | 9 | 33.3 % | 0–8",
      "server 3 | ●up | 9 | 33.3 % | 0–8",
    }, page:run [=[
      return [...document.querySelectorAll("#body tr")].map((row) =>
        [0, 1, 2, 5, 6].map((i) => row.children[i].innerText
          .replace(/\s+/g, " ")).join(" | ")).sort()]=])
    -- Since the host has begun, whoever looks.
    page:waitFor "return document.querySelectorAll('path.line').length === 6"
    isClean(page)
    support.stop(host)
  end)

  it("can be read on a phone, in the dark, and without colours", function()
    local host = run(NINE, { serve(1)[1], tostring(support.closedPort()) })
    local page = open(host.url)
    shows(page, "#body", "▲unreachable")
    shows(page, "#sentence", "9 connections to 2 servers")
    shows(page, "#word", "▲")
    shows(page, "#said", "not balanced")
    for _, width in ipairs { 1440, 360 } do
      page:size(width, 800)
      page:waitFor([[
        const heat = document.querySelector("#heat");
        return heat.viewBox.baseVal.width === heat.clientWidth &&
          innerWidth === arguments[0];]], width)
      assert.equal(width,
        page:run "return document.documentElement.scrollWidth")
      for _, dark in ipairs { false, true } do
        page:scheme(dark)
        assert.same({}, page:run(FAINT))
      end
    end
    isClean(page)
    support.stop(host)
  end)

  it("can be operated by the keyboard alone", function()
    local host = run(NINE, serve(3))
    local page = open(host.url)
    shows(page, "#sentence", "27 connections")
    assert.same({}, page:run(NAMELESS))
    local stops = {}
    for i = 1, 12 do
      page:press(TAB)
      stops[i] = page:run [[
        const e = document.activeElement;
        return e.id || e.ariaLabel?.split(":")[0] || e.textContent]]
    end
    assert.same({ "Skip to the servers", "pause", "Connections",
      "Peak and least to mean", "Attempts per second",
      "Failures per second", "search", "Server", "Connections", "Share",
      "Last slot", "Unreachable" }, stops)

    -- A line is read point by point.
    page:run "document.querySelector('.chart svg').focus()"
    page:press(LEFT)
    shows(page, "#spoken", "Connections")
    assert.equal(4, count(page, ".cursor"))

    -- Sorting keeps the focus where it is.
    page:run "document.querySelector('th[data-key=id] button').focus()"
    for _, order in ipairs { "ascending", "descending" } do
      page:press(ENTER)
      page:waitFor([[
        const title = document.querySelector("th[data-key=id]");
        return title.ariaSort === arguments[0];]], order)
    end
    shows(page, "#body tr", "server 3")
    assert.equal("Server", page:run
      "return document.activeElement.textContent")
    isClean(page)
    support.stop(host)
  end)

  it("marks reloads, and says why one failed", function()
    local host = run(NINE, serve(1))
    local page = open(host.url)
    shows(page, "#sentence", "9 connections")
    support.write(host.path, (NINE:gsub("slot > 8", "slot > 3")))
    host:kill "sighup"
    shows(page, "#host", "generation 2")
    shows(page, "#sentence", "4 connections")
    shows(page, ".chart .marked", "↻ 2")
    assert.equal(4, count(page, ".mark"))
    assert.is_false(isVisible(page, "#failure"))

    support.write(host.path, "error '<b>no</b>'")
    host:kill "sighup"
    shows(page, "#failedWhy", ":1: <b>no</b>")
    assert.is_true(isVisible(page, "#failure"))
    page:waitFor "return document.querySelectorAll('.mark.bad').length === 4"
    shows(page, "#list", "<b>no</b>")
    shows(page, "#host", "generation 2")

    support.write(host.path, NINE)
    host:kill "sighup"
    page:waitFor [[
      return !document.querySelector("#failure").checkVisibility()]]
    shows(page, "#sentence", "9 connections")
    isClean(page)
    support.stop(host)
  end)

  it("is grey and says so when the host is gone, until it is back", function()
    local ports = serve(3)
    local host = run(NINE, ports)
    local page = open(host.url)
    shows(page, "#sentence", "27 connections")
    isClean(page)
    support.stop(host)
    shows(page, "#lost", "The host does not answer: it has ended")
    assert.is_true(isVisible(page, "#lost"))
    page:waitFor [[
      const style = getComputedStyle(document.querySelector("main"));
      return style.filter === "grayscale(1)"]]
    assert.same({}, page:run(FAINT))
    assert.equal("no answer", page:text "#live")
    assert.equal("no answer – callosum-rover", page:run
      "return document.title")

    host = run(NINE, ports, host.admin)
    page:waitFor "return !document.querySelector('#lost').checkVisibility()"
    shows(page, "#news", "The host is back, as a new process.")
    shows(page, "#sentence", "27 connections")
    assert.equal("live", page:text "#live")
    -- What the browser itself says of the time in between.
    for _, problem in ipairs(page:problems()) do
      assert.matches("/status%?.* net::ERR_CONNECTION_REFUSED$", problem)
    end
    support.stop(host)
  end)

  it("rests while nobody sees it, and when it is paused", function()
    local host = run(NINE, serve(1))
    local page = open(host.url)
    shows(page, "#sentence", "9 connections")
    page:ask("POST", "/window/minimize")
    page:waitFor "return document.hidden && timers.size === 0"
    page:ask("POST", "/window/rect", { width = 800, height = 800 })
    page:waitFor "return !document.hidden && timers.size > 0"
    page:click "#pause"
    page:waitFor "return timers.size === 0"
    assert.matches("^paused at %d%d:%d%d:%d%d$", page:text "#live")
    page:click "#pause"
    page:waitFor "return timers.size > 0"
    shows(page, "#live", "live")
    isClean(page)
    support.stop(host)
  end)

  it("shows foreign text as text, and one rover of several", function()
    local ids = { "<img src=x onerror=alert(1)>", "\" onclick='alert(1)'",
      "</script><script>alert(1)</script>", ("x"):rep(255), "\u{202E}evil" }
    local host = run([[
      local host = require "callosum.host"
      local port, ids = math.tointeger(...), { select(2, ...) }
      for _, name in ipairs { "first", "<b>second</b>" } do
        local r = require "callosum.rover".new { name = name,
          rovingInterval = 10 }
        for i, id in ipairs(ids) do
          if name == "first" or i == 1 then
            r:addServer(id, { host = "127.0.0.1", port = port })
          end
        end
        r:on("connection", function(slot, socket)
          if slot > 8 then socket:close() end
        end)
        r:start()
      end
      host.log.error("<script>alert(1)</script>", { ["<i>"] = "<u>u</u>" })
      host.log.warn "\u{2028}red"
    ]], { serve(1)[1], table.unpack(ids) })
    local page = open(host.url .. "#search=%3Cimg+src=y%3E")
    shows(page, "#range", "0 of 0 with “<img src=y>”")
    assert.equal("No server has this in its id.", page:text "#none")
    page:set("#search", "")
    ids[5] = "\\u202eevil"
    for _, id in ipairs(ids) do shows(page, "#body", id) end
    shows(page, "#list", "<script>alert(1)</script>")
    shows(page, "#list", "<u>u</u>")
    shows(page, "#list", "\\u2028red")
    page:set("#rover", "<b>second</b>")
    page:waitFor "return document.querySelectorAll('#body tr').length === 1"
    assert.same({ 1, 0 }, { count(page, "script"), count(page,
      "img, u, b:not(figcaption b), i:not(.swatch), [onclick], [onerror]") })
    isClean(page)
    support.stop(host)
  end)

  it("pages through ten thousand servers", function()
    local host = run([[
      local r = require "callosum.rover".new { rovingInterval = 1 }
      local servers = {}
      for i = 1, 10000 do
        servers[("10.0.%d.%d:4040"):format(i // 250, i % 250)] =
          { host = "127.0.0.1", port = math.tointeger(...) }
      end
      r:setServers(servers)
      local kept, has = 0, {}
      r:on("connection", function(_, socket, id)
        if kept == 50 or has[id] then return socket:close() end
        kept, has[id] = kept + 1, true
      end)
      r:start()
    ]], serve(1))
    local page = open(host.url)
    shows(page, "#sentence", "50 connections to 10,000 servers")
    shows(page, "#sentence", "fewer than servers, at most 1 at each")
    assert.equal("balanced", page:text "#said")
    assert.equal("1–25 of 10,000", page:text "#range")
    assert.equal("servers 1–25 of 10,000, by connections", page:text "#mapOf")
    page:click "th[data-key=id] button"
    shows(page, "#body tr", "10.0.0.100:4040")
    page:click "#next"
    shows(page, "#range", "26–50 of 10,000")
    page:click "#last"
    shows(page, "#range", "9,976–10,000 of 10,000")
    assert.equal("true", page:run
      "return document.querySelector('#next').ariaDisabled")
    page:set("#search", "10.0.39.24")
    shows(page, "#range", "1–11 of 11 with “10.0.39.24”")
    -- What is chosen is in the address.
    page:ask("POST", "/refresh")
    shows(page, "#range", "1–11 of 11 with “10.0.39.24”")
    -- Neither the page nor an answer grows with the number of servers.
    page:set("#search", "")
    shows(page, "#range", "1–25 of 10,000")
    assert.is_true(count(page, "*") < 1500)
    assert.is_true(page:run [[
      const all = performance.getEntriesByType("resource");
      return all.length > 0 && all.every((r) => r.transferSize < 32768)]])
    isClean(page)
    support.stop(host)
  end)
end)
