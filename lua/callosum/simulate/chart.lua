--- A picture in SVG: panels one below the other with one horizontal axis, and
-- above them an optional strip with a row for each kind of event. A panel has an
-- axis of its own, lines, bands and steps, and labels at the right, beside the
-- ends of what they name. Colours follow the reader's light or dark scheme, and
-- differ for the colour-blind too; lines also differ by their dashes.
--
-- chart.new, then chart:strip, then for each panel chart:panel and what is in
-- it, then chart:text.

local chart, methods, panels = {}, {}, {}
methods.__index, panels.__index = methods, panels

local WIDTH, LEFT, RIGHT = 920, 74, 128
local ROW, GAP, LINE = 15, 34, 13 -- of the strip; between panels; of text
local MANY = 48 -- events, whose lines would hide what is drawn

-- Light, dark, dashes.
local COLOURS = {
  { "#0067a8", "#5ab4f0", "none" }, { "#c74e00", "#f58f45", "7 3" },
  { "#00795a", "#35c99f", "2 2" }, { "#8f3f8c", "#dd93d8", "9 3 2 3" },
  { "#806200", "#d9bb3c", "4 2" }, { "#444444", "#cccccc", "1 3" },
}

--- How many colours there are.
chart.COLOURS = #COLOURS

-- Grounds, text, secondary text and grid.
local SCHEMES = {
  { ground = "#ffffff", text = "#1f2328", dim = "#59636e", grid = "#d9dee3" },
  { ground = "#0d1117", text = "#e6edf3", dim = "#9aa4af", grid = "#30363d" },
}

local function rules(scheme)
  local own, list = SCHEMES[scheme], {}
  local function add(...) list[#list + 1] = (...):format(select(2, ...)) end
  add(".ground{fill:%s}text{fill:%s}.dim{fill:%s}", own.ground, own.text,
    own.dim)
  add(".grid{stroke:%s}.axis{stroke:%s}", own.grid, own.dim)
  add(".event{fill:%s}.guide{stroke:%s}.c0{stroke:%s}.f0{fill:%s}", own.dim,
    own.dim, own.text, own.text)
  add(".halo{stroke:%s}.point{stroke:%s}", own.ground, own.text)
  for i, colour in ipairs(COLOURS) do
    add(".c%d{stroke:%s}.f%d{fill:%s}", i, colour[scheme], i, colour[scheme])
  end
  return table.concat(list)
end

local STYLE = [[
text{font:12px system-ui,sans-serif}.title{font-size:16px;font-weight:600}
.name{font-weight:600}.small{font-size:11px}.end{text-anchor:end}
.middle{text-anchor:middle}path{fill:none;stroke-linejoin:round}
.line{stroke-width:1.75}.thin{stroke-width:1;stroke-opacity:.4}
.band{stroke:none;fill-opacity:.17}.grid,.axis{stroke-width:1}
.guide{stroke-width:1;stroke-opacity:.4;stroke-dasharray:2 3}
.halo{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}
.bar{fill-opacity:.25}.point{fill:none;stroke-width:1.5}
.c0{stroke-dasharray:5 4}
]]

local function style()
  local list = { "<style>", STYLE, rules(1), "\n" }
  for i, colour in ipairs(COLOURS) do
    list[#list + 1] = (".line.c%d{stroke-dasharray:%s}"):format(i, colour[3])
  end
  list[#list + 1] = "\n@media(prefers-color-scheme:dark){" .. rules(2)
    .. "}\n</style>"
  return table.concat(list)
end

-- Text that comes from users: a control character would end the document.
local function escape(text)
  return (tostring(text):gsub("[%c&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;",
    [">"] = "&gt;", ['"'] = "&quot;" }):gsub("%c", "?"))
end

-- With one decimal, as short as can be: coordinates are most of the file.
local function short(number)
  return (("%.1f"):format(number):gsub("%.0$", ""):gsub("^%-0$", "0"))
end

--- A number for people: 1,200 or 0.05.
function chart.number(value)
  local text = ("%.15g"):format(value)
  local count
  repeat
    text, count = text:gsub("^(%-?%d+)(%d%d%d)", "%1,%2")
  until count == 0
  return text
end

-- Scales ---------------------------------------------------------------------

-- The 1, 2 or 5 times a power of ten by which about `count` steps reach `span`.
local function stepOf(span, count)
  local raw = span / count
  local power = 10 ^ math.floor(math.log(raw, 10))
  for _, factor in ipairs { 1, 2, 5 } do
    if raw <= factor * power * 1.0001 then return factor * power end
  end
  return 10 * power
end

-- Powers of ten, and between them 2 and 5 if these are few.
local function logTicks(min, max)
  local list, low, high = {}, math.log(min, 10), math.log(max, 10)
  local factors = high - low > 3.5 and { 1 } or high - low > 0.8
    and { 1, 2, 5 } or { 1, 1.5, 2, 3, 4, 5, 6, 8 }
  for power = math.floor(low), math.ceil(high) do
    for _, factor in ipairs(factors) do
      local value = factor * 10.0 ^ power
      if value >= min * 0.999 and value <= max * 1.001 then
        list[#list + 1] = value
      end
    end
  end
  return list
end

local function linearTicks(min, max, count)
  local list, step = {}, stepOf(max - min, count)
  for i = math.ceil(min / step - 1e-9), math.floor(max / step + 1e-9) do
    list[#list + 1] = i * step
  end
  return list, step
end

-- From values to pixels: linear, or logarithmic.
local function scale(min, max, from, to, log)
  if not log then
    local factor = (to - from) / (max - min)
    return function(value) return from + (value - min) * factor end
  end
  local low = math.log(min)
  local factor = (to - from) / (math.log(max) - low)
  return function(value)
    return from + (math.log(math.max(value, min)) - low) * factor
  end
end

-- Paths ----------------------------------------------------------------------

-- Marks of points { x, y } from `first` to `last` those without which the line
-- would be more than a third of a pixel elsewhere (Douglas and Peucker).
local function mark(points, first, last, keep)
  local todo = { first, last }
  while #todo > 0 do
    local b, a = table.remove(todo), table.remove(todo)
    local ax, ay, bx, by = points[a][1], points[a][2], points[b][1],
      points[b][2]
    local slope = bx ~= ax and (by - ay) / (bx - ax) or 0
    local worst, at = 0.33, nil
    for i = a + 1, b - 1 do
      local off = math.abs(points[i][2] - ay - (points[i][1] - ax) * slope)
      if off > worst then worst, at = off, i end
    end
    keep[a], keep[b] = true, true
    if at then
      table.move({ a, at, at, b }, 1, 4, #todo + 1, todo)
    end
  end
end

-- A number that is rounded to tenths, as short as can be.
local function tenths(number)
  local whole = number % 10 == 0
  return whole and ("%d"):format(number // 10)
    or (("%.1f"):format(number / 10):gsub("^(%-?)0%.", "%1."))
end

-- Points as a path, relative, since that is half as long; `nan` are gaps.
local function pathOf(points)
  local parts, first = {}, nil
  local function draw(last)
    local keep, x, y = {}, nil, nil
    mark(points, first, last, keep)
    for at = first, last do
      if keep[at] then
        local toX = math.floor(points[at][1] * 10 + 0.5)
        local toY = math.floor(points[at][2] * 10 + 0.5)
        local dx, dy = tenths(toX - (x or 0)), tenths(toY - (y or 0))
        parts[#parts + 1] = (x and "l" or "M") .. dx
          .. (dy:byte() == 45 and "" or " ") .. dy
        x, y = toX, toY
      end
    end
    if first == last then parts[#parts + 1] = "h1" end -- alone, yet seen
  end
  for i = 1, #points + 1 do
    local gap = not points[i] or points[i][2] ~= points[i][2]
    if not gap and not first then first = i end
    if gap and first then
      draw(i - 1)
      first = nil
    end
  end
  return table.concat(parts)
end

-- How wide a text is, roughly.
local LETTER = 6.2
local function widthOf(text) return LETTER * (utf8.len(text) or #text) end

-- As much of a text as fits beside the panels.
local function fitting(text)
  local most = math.floor((RIGHT - 8) / LETTER)
  if (utf8.len(text) or 0) <= most then return text end
  return text:sub(1, utf8.offset(text, most) - 1) .. "…"
end

-- Of a panel -----------------------------------------------------------------

function panels:add(...)
  local parts = self.chart.parts
  parts[#parts + 1] = (...):format(select(2, ...))
end

local function place(self, points)
  local list = {}
  for i, point in ipairs(points) do
    list[i] = { self.chart.x(point[1]),
      point[2] and self.y(point[2]) or 0 / 0 }
  end
  return list
end

--- Draws a line through points { x, y }, in which y may be nil for a gap.
---@param points table array
---@param class string "line c1" of the first colour, "thin c1", …
---@param title? string shown when the pointer rests on it
function panels:line(points, class, title)
  self:add('<path class="%s" d="%s">%s</path>', class,
    pathOf(place(self, points)),
    title and "<title>" .. escape(title) .. "</title>" or "")
end

--- Fills what is between two lines { x, y } with the same xs.
---@param lower table
---@param upper table
---@param class string "f1"
function panels:band(lower, upper, class)
  local back, up = {}, place(self, upper)
  local low = place(self, lower)
  for i = #low, 1, -1 do back[#back + 1] = low[i] end
  local d, other = pathOf(up), pathOf(back)
  if d == "" then return end
  self:add('<path class="band %s" d="%sL%sZ"/>', class, d, other:sub(2))
end

--- Puts a label beside the panel, level with y; labels move apart if they
-- would touch.
---@param y number
---@param text string
---@param class string "f1"
function panels:label(y, text, class)
  self.labels[#self.labels + 1] = { at = self.y(y), text = text, class = class }
end

--- Writes at a point of the panel, on its left side if it would not fit on the
-- right.
---@param x number
---@param y number
---@param text string
function panels:note(x, y, text)
  local left, top = self.chart.x(x), self.y(y)
  local class = left > WIDTH - RIGHT - widthOf(text) and "end" or ""
  self:add('<circle class="point" r="3.5" cx="%s" cy="%s"/>', short(left),
    short(top))
  self:add('<text class="halo %s" x="%s" y="%s">%s</text>', class,
    short(left + (class == "" and 8 or -8)),
    short(math.max(top - 5, self.top + 11)), escape(text))
end

--- Draws an upright line at x, with a text beside its upper end.
---@param x number
---@param text string
function panels:upright(x, text)
  local left = self.chart.x(x)
  self:add('<path class="axis c0" d="M%s %dV%d"/>', short(left), self.top,
    self.bottom)
  local class = left > WIDTH - RIGHT - widthOf(text) and " end" or ""
  self:add('<text class="halo%s" x="%s" y="%d">%s</text>', class,
    short(left + (class == "" and 6 or -6)), self.top + 12, escape(text))
end

-- Labels that would touch form a group around where they all would be.
local function putLabels(self)
  local groups = {}
  for i, label in ipairs(self.labels) do label.order = i end
  table.sort(self.labels, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.order < b.order
  end)
  for _, label in ipairs(self.labels) do
    local group = { label, at = label.at }
    local before = groups[#groups]
    while before and before.at + #before * LINE / 2
        > group.at - #group * LINE / 2 do
      local sum = before.at * #before + group.at * #group
      table.move(group, 1, #group, #before + 1, before)
      before.at = sum / #before
      groups[#groups] = nil
      group, before = before, groups[#groups]
    end
    groups[#groups + 1] = group
  end
  for _, group in ipairs(groups) do
    -- The numbers of the horizontal axis are below.
    group.at = math.min(group.at, self.bottom - (#group - 1) / 2 * LINE)
    for i, label in ipairs(group) do
      local y = group.at + (i - 0.5 - #group / 2) * LINE
      self:add('<text class="%s" x="%d" y="%s">%s</text>', label.class,
        WIDTH - RIGHT + 8, short(y + 4), escape(fitting(label.text)))
    end
  end
end

-- The chart ------------------------------------------------------------------

--- Begins a picture.
---@param about table `title` and `subtitle`: texts; `from`, `to`: the range of
--- the horizontal axis, `label`: what it shows, with its unit
function chart.new(about)
  local to = math.max(about.to, about.from + 1e-9)
  return setmetatable({ about = about, parts = {}, height = 56, guides = {},
    x = scale(about.from, to, LEFT, WIDTH - RIGHT) }, methods)
end

local function add(self, ...)
  self.parts[#self.parts + 1] = (...):format(select(2, ...))
end

-- Marks less than three pixels apart become one. What lasts has a bar.
local function drawRow(self, row, y)
  add(self, '<text class="dim end" x="%d" y="%d">%s</text>', LEFT - 8, y + 4,
    escape(row.name))
  local marks, bars, first = {}, {}, nil
  local function draw(list, from, to)
    list[#list + 1] = ("M%s %dH%sv9H%sz"):format(short(from), y - 4, short(to),
      short(from))
  end
  for i, event in ipairs(row) do
    first = first or event
    local from, x = self.x(first.at), self.x(event.at)
    if event.till and self.x(event.till) - x > 3 then
      draw(bars, x, self.x(math.min(event.till, self.about.to)))
    end
    local after = row[i + 1] and self.x(row[i + 1].at) or WIDTH
    if after - x >= 3 then
      draw(marks, from, x + 1.5)
      local text = first == event and event.text
        or first.text .. " … " .. event.text
      if after - x > widthOf(text) + 3 and event.text ~= "" then
        add(self, '<text class="dim small" x="%s" y="%d">%s</text>',
          short(x + 4), y + 4, escape(text))
      end
      first = nil
    end
  end
  add(self, '<path class="event" d="%s"/>', table.concat(marks))
  if #bars > 0 then
    add(self, '<path class="event bar" d="%s"/>', table.concat(bars))
  end
end

--- Draws events above the panels, and, unless there are many, fine lines down
-- through these.
---@param rows table array of { name =, { at =, till = or nil, text = }, … }, in
--- order of time
function methods:strip(rows)
  for _, row in ipairs(rows) do
    self.height = self.height + ROW
    drawRow(self, row, self.height)
    for _, event in ipairs(row) do
      table.insert(self.guides, event.at)
      if event.till and event.till < self.about.to then
        table.insert(self.guides, event.till)
      end
    end
  end
  if #self.guides > MANY then self.guides = {} end
  if #rows > 0 then self.height = self.height + 4 end
end

local function drawGrid(self, panel, about)
  local ticks = about.log and logTicks(about.min, about.max)
    or linearTicks(about.min, about.max, math.max(2, about.height // 34))
  for _, value in ipairs(ticks) do
    local y = short(panel.y(value))
    add(self, '<path class="grid" d="M%d %sH%d"/>', LEFT, y, WIDTH - RIGHT)
    add(self, '<text class="dim end" x="%d" y="%s">%s</text>', LEFT - 8,
      short(panel.y(value) + 4), chart.number(value))
  end
  local d = {}
  for i, at in ipairs(self.guides) do
    d[i] = ("M%s %dV%d"):format(short(self.x(at)), panel.top, panel.bottom)
  end
  if #d > 0 then
    add(self, '<path class="guide" d="%s"/>', table.concat(d))
  end
end

--- Adds a panel below what is there.
---@param about table `name` and `label`: what it shows, and its vertical axis
--- with its unit; `height`: pixels; `min`, `max`: the range; `log`: whether the
--- axis is logarithmic
function methods:panel(about)
  local own = { name = about.name, label = about.label, height = about.height,
    min = about.min, max = about.max, log = about.log }
  if own.log then
    own.min = math.max(own.min, own.max * 1e-6, 1e-3) / 1.1
    own.max = math.max(own.max, own.min * 2) * 1.1
  else
    local _, step = linearTicks(own.min, math.max(own.max, own.min + 1), 4)
    own.max = math.max(own.min + 1, math.ceil(own.max / step * 2 - 1e-9)
      * step / 2)
  end
  local top = self.height + GAP
  local bottom = top + own.height
  local panel = setmetatable({ chart = self, top = top, bottom = bottom,
    labels = {}, y = scale(own.min, own.max, bottom, top, own.log) }, panels)
  add(self, '<text x="%d" y="%d"><tspan class="name">%s</tspan><tspan '
    .. 'class="dim" dx="10">%s</tspan></text>', LEFT, top - 10,
    escape(own.name), escape(own.label))
  drawGrid(self, panel, own)
  self.panels = self.panels or {}
  table.insert(self.panels, panel)
  self.height = bottom
  return panel
end

local function drawAxis(self)
  local about, y = self.about, self.height
  add(self, '<path class="axis" d="M%d %dH%d"/>', LEFT, y, WIDTH - RIGHT)
  for _, value in ipairs((linearTicks(about.from, about.to, 9))) do
    local x = short(self.x(value))
    add(self, '<path class="axis" d="M%s %dv5"/>', x, y)
    add(self, '<text class="dim middle" x="%s" y="%d">%s</text>', x, y + 18,
      chart.number(value))
  end
  add(self, '<text class="dim middle" x="%d" y="%d">%s</text>',
    (LEFT + WIDTH - RIGHT) // 2, y + 36, escape(about.label))
  self.height = y + 48
end

--- Ends the picture.
---@return string svg
function methods:text()
  for _, panel in ipairs(self.panels) do putLabels(panel) end
  drawAxis(self)
  local about = self.about
  local head = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" '
    .. 'height="%d" viewBox="0 0 %d %d" role="img">\n<title>%s</title>\n%s\n'
    .. '<rect class="ground" fill="#fff" width="100%%" height="100%%"/>\n'
    .. '<text class="title" x="%d" y="28">%s</text>\n'
    .. '<text class="dim" x="%d" y="47">%s</text>\n')
    :format(WIDTH, self.height, WIDTH, self.height,
      escape(about.title .. ": " .. about.subtitle), style(), LEFT,
      escape(about.title), LEFT, escape(about.subtitle))
  return head .. table.concat(self.parts, "\n") .. "\n</svg>\n"
end

return chart
