-- What was measured, as a table in Markdown and as plots.

local report = {}

report.PLOTS = "build/bench" -- the folder to draw in

local missed = {} -- figures whose aim is not reached

--- The median of an array of numbers, its least and its greatest.
function report.median(list)
  local sorted = { table.unpack(list) }
  table.sort(sorted)
  return sorted[(#sorted + 1) // 2], sorted[1], sorted[#sorted]
end

-- Three digits, and commas in thousands.
local function short(value)
  local text = value >= 99.95 and ("%.0f"):format(value)
    or value >= 9.995 and ("%.1f"):format(value) or ("%.2f"):format(value)
  local count
  repeat
    text, count = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  until count == 0
  return text
end

local function spread(list)
  local mid, min, max = report.median(list)
  return ("%s (%s–%s)"):format(short(mid), short(min), short(max))
end

local function named(name, entry)
  if not entry then return name .. " failed" end
  local detail = entry.detail and (", %s"):format(entry.detail) or ""
  return ("%s %s%s"):format(name, spread(entry), detail)
end

local COLUMNS = {
  { "Figure", 38 }, { "This project", 34 }, { "Alternatives", 62 },
  { "Limit", 28 }, { "Ratio", 34 }, { "Aim", 28 }, { "Reached", 7 },
}

local function line(cells)
  for i, cell in ipairs(cells) do
    local blanks = math.max(0, COLUMNS[i][2] - utf8.len(cell))
    cells[i] = cell .. (" "):rep(blanks)
  end
  print(("| %s |"):format(table.concat(cells, " | ")))
  io.stdout:flush()
end

--- Begins the table.
function report.head()
  local names, rule = {}, {}
  for i, column in ipairs(COLUMNS) do
    names[i], rule[i] = column[1], ("-"):rep(column[2])
  end
  line(names)
  line(rule)
end

-- Of what was measured in the same round, since the machine's speed changes
-- from one to the next.
local function ratio(ours, theirs)
  local list = {}
  for i = 1, math.min(#ours, #theirs) do list[i] = ours[i] / theirs[i] end
  return (report.median(list))
end

-- An aim reads "epoll >= 0.95" (the ratio to that contender), or "<= 450".
local function check(aim, ours, others)
  local name, op, bound = aim:match "^(.-)%s*([<>]=)%s*([%d.]+)"
  if name ~= "" and not others[name] then return nil end
  local value = name ~= "" and ratio(ours, others[name]) or report.median(ours)
  bound = tonumber(bound)
  if op == ">=" then return value >= bound else return value <= bound end
end

--- Adds a row to the table. Entries are arrays of what was measured, a value a
-- round, of which median and spread are shown, and the median of the ratios;
-- `detail` in one is text to go with it.
-- @param figure what it is, with its unit
-- @param name who of this project, `results` of whom, by names of contenders
-- @param row `others`, an array of contenders' names; `limit`, one such name;
--   `aims`, an array of texts
function report.row(figure, name, results, row)
  local ours, ratios, others, verdict = results[name], {}, {}, ""
  local limit = row.limit and named(row.limit, results[row.limit]) or ""
  for i, other in ipairs(row.others or {}) do
    others[i] = named(other, results[other])
  end
  local compared = { table.unpack(row.others or {}) }
  if row.limit then table.insert(compared, 1, row.limit) end
  for _, other in ipairs(compared) do
    if ours and results[other] and report.median(results[other]) > 0 then
      ratios[#ratios + 1] = ("%.2f %s"):format(ratio(ours, results[other]),
        other)
    end
  end
  for _, aim in ipairs(row.aims or {}) do
    local ok = ours and check(aim, ours, results)
    if ok == false or not ours then verdict = "no" end
    if ok and verdict == "" then verdict = "yes" end
  end
  if verdict == "no" then missed[#missed + 1] = figure .. ": " .. name end
  line { figure, named(name, ours), table.concat(others, "; "), limit,
    table.concat(ratios, ", "), table.concat(row.aims or {}, ", "), verdict }
end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

--- The machine, and the day.
function report.machine()
  local cpus = read "/proc/cpuinfo"
  local _, cores = cpus:gsub("\nprocessor%s", "%0")
  return ("%d × %s, Linux %s, %s"):format(cores + 1,
    cpus:match "model name%s*: ([^\n]*)" or "unknown",
    read "/proc/sys/kernel/osrelease":match "[%d.]*%d", os.date "%F")
end

-- Legible on light and on dark.
local STYLE = [[
set terminal svg size 640,360 font "sans-serif,12" linewidth 1.5
set border 3 linecolor rgb "#808080"
set tics nomirror textcolor rgb "#808080"
set key outside right center textcolor rgb "#808080"
set linetype 1 linecolor rgb "#3584e4" pointtype 7
set linetype 2 linecolor rgb "#2ea043" pointtype 5
set linetype 3 linecolor rgb "#e5851e" pointtype 9
set linetype 4 linecolor rgb "#c9498f" pointtype 13
set format y "%'.0f"
]]

--- Draws how cost grows with size, as NAME.svg, if gnuplot is there: medians,
-- and bars from the least to the greatest.
-- @param plot `name`, `title`, `x`, `y`: texts; `lines`: names of contenders;
--   `log`: the axes with logarithmic scales, "x" or "xy"; nil: none
-- @param points array of { size, results by the contenders' names }
function report.plot(plot, points)
  local script = { STYLE, ("set output '%s/%s.svg'"):format(report.PLOTS,
    plot.name) }
  local function add(...) script[#script + 1] = (...):format(select(2, ...)) end
  local drawn = {}
  for i, name in ipairs(plot.lines) do
    add("$line%d << end", i)
    for _, point in ipairs(points) do
      if point[2][name] then
        add("%d %g %g %g", point[1], report.median(point[2][name]))
        drawn[i] = ("$line%d with yerrorlines linetype %d title '%s'")
          :format(i, i, name)
      end
    end
    add "end"
  end
  if plot.log then
    add("set logscale %s", plot.log)
    add("set xrange [%d:%d]", points[1][1] // 2, points[#points][1] * 2)
  end
  add('set title "%s\\n%s" textcolor rgb "#808080"', plot.title,
    report.machine())
  add("set xlabel '%s' textcolor rgb '#808080'", plot.x)
  add("set ylabel '%s' textcolor rgb '#808080'", plot.y)
  if not plot.log then add "set yrange [0:*]" end
  local parts = {}
  for i = 1, #plot.lines do parts[#parts + 1] = drawn[i] end
  if #parts == 0 or not os.execute "command -v gnuplot >/dev/null" then return
  end
  add("plot %s", table.concat(parts, ", "))
  local gnuplot = io.popen("gnuplot", "w")
  gnuplot:write(table.concat(script, "\n"), "\n")
  gnuplot:close()
end

--- Tells, after the table, which aims are missed.
-- @return how many
function report.foot()
  for _, what in ipairs(missed) do print("missed: " .. what) end
  return #missed
end

return report
