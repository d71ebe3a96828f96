--- `callosum-rover simulate`: runs policies on virtual fleets, and reports.
--- `stage` is the virtual fleet in C (src/sim/stage.c).

local figures = require "callosum.simulate.figures"
local plot = require "callosum.simulate.plot"
local rate = require "callosum.simulate.rate"
local record = require "callosum.simulate.record"
local report = require "callosum.simulate.report"
local servers = require "callosum.simulate.servers"
local timeline = require "callosum.simulate.timeline"

local simulate = {}

local function complain(format, ...)
  io.stderr:write("callosum-rover simulate: ", format:format(...), "\n")
end

-- Running --------------------------------------------------------------------

local function namesOf(play)
  local list = {}
  for i = 1, play.existing do list[i] = "s" .. i end
  return list
end

-- All that is known at the end, or when it was interrupted.
local function result(play, stage)
  local requests = stage.requests()
  local run = {
    duration = play.now,
    servers = namesOf(play),
    counts = stage.connections(),
    connections = figures.connections(play.samples, play.events,
      play.settings.hosts),
    samples = play.drawn,
    events = play.events,
    slots = stage.slots(),
    latency = requests and requests.latency,
    requests = requests,
    warnings = stage.warnings(),
    hash = stage.hash(),
  }
  run.errors, run.moreErrors = stage.errors()
  run.connections.distinct = stage.distinct()
  for _, each in ipairs(play.warnings) do table.insert(run.warnings, each) end
  return run
end

-- Then all figures are zero, and say nothing.
local function nobodyIsAsked(list)
  local first = list[1]
  return ("no host has connected to a virtual server, of which there "
    .. "%s at %s:%d; see --servers"):format(#list == 1 and "is one"
      or ("are %d, the first"):format(#list), first.host, first.port)
end

-- Runs one policy to its end, in a process of its own.
local function perform(play, fleet, policy, options, stage)
  local settings = play.settings
  play.stage = stage
  local ok, message = stage.start {
    policy = policy,
    args = servers.arguments(options.args, settings.servers),
    servers = settings.servers,
    hosts = settings.hosts,
    seed = settings.seed,
    requests = settings.rate,
    requestsFrom = settings.requestsFrom,
    seconds = settings.seconds,
    fronts = settings.fronts,
    latency = options.latency,
    show = options.show,
  }
  local run
  if ok then
    local reason, failure = play:run(fleet)
    run = result(play, stage)
    run.interrupted = reason == "interrupted"
    if reason and not run.interrupted then
      run.failed = reason
      if stage.counters().running == 0 then -- it says it all
        run.connections, run.errors = nil, nil
      end
    end
    run.assertion = failure
    if not reason and not failure and stage.counters().opens == 0 then
      run.failed = nobodyIsAsked(settings.servers)
      run.connections = nil
    end
  else
    run = { failed = message, servers = namesOf(play), duration = 0 }
  end
  run.policy, run.scenario = policy, options.scenario
  run.hosts, run.seconds = settings.hosts, settings.seconds
  run.seed = settings.seed
  run.sentence, run.look = settings.sentence, settings.look
  if not options.plot then run.samples = nil end
  return record.write(run)
end

-- Each policy has a process of its own, so that all begin with the same
-- addresses in memory: what pairs() returns depends on them.
local function performAll(play, fleet, options, stage)
  local jobs, runs = {}, {}
  for i, policy in ipairs(options.policies) do
    jobs[i] = function() return perform(play, fleet, policy, options, stage) end
  end
  local texts, ends = stage.fork(jobs)
  for i, text in ipairs(texts) do
    if text then runs[#runs + 1] = record.read(text)
    else complain("the process that ran %s %s", options.policies[i], ends[i])
    end
  end
  return runs
end

-- Reporting ------------------------------------------------------------------

local function draw(runs, folder)
  local drawn = {}
  for _, run in ipairs(runs) do
    if run.samples then drawn[#drawn + 1] = run end
  end
  if #drawn == 0 then return true end
  local ok, message = plot.write(folder, drawn)
  if not ok then complain("%s", message) end
  return ok
end

-- 0 if nothing failed.
local function statusOf(runs, policies)
  if #runs < policies then return 1 end
  for _, run in ipairs(runs) do
    if run.failed or run.assertion or run.interrupted then return 1 end
  end
  return 0
end

-- Interface ------------------------------------------------------------------

--- What `--help` says about scenarios.
---@return string
function simulate.help()
  local out = { "Scenarios, and what to look for:\n" }
  for _, name in ipairs(timeline.SCENARIOS) do
    local play = assert(timeline.load(assert(timeline.find(name)), {}))
    local settings = play.settings
    local text = ("%s. Look for: %s. (%d hosts, %g s%s)"):format(
      settings.sentence, settings.look, settings.hosts, settings.seconds,
      settings.requests and ", requests " .. settings.requests or "")
    out[#out + 1] = ("  %-11s%s\n"):format(name, report.wrap(text, 67,
      (" "):rep(13)))
  end
  return table.concat(out)
end

--- Runs what the command line asks for, and reports on standard output;
--- problems go to standard error.
---@param options table as callosum.simulate.options parses them
---@param stage table the functions of src/sim/stage.c
---@return integer status of the command
function simulate.main(options, stage)
  options.scenario = options.scenario or "cold"
  local path, message = timeline.find(options.scenario)
  if not path then
    complain("%s", message)
    return 2
  end
  local play, fleet = timeline.load(path, {
    seconds = options.duration,
    hosts = options.hosts,
    servers = options.servers,
    requests = options.requests,
    seed = options.seed,
  })
  if not play then
    complain("%s%s", fleet.message, fleet.traceback and "\n"
      .. fleet.traceback or "")
    return 1
  end
  local settings = play.settings
  if settings.requests then
    settings.rate, message = rate.parse(settings.requests, settings.hosts,
      #settings.servers)
    if not settings.rate then
      complain("%s", message)
      return options.requests and 2 or 1
    end
  end
  if options.show and options.show > settings.hosts then
    complain("--show wants the number of a host, 1 to %d, not '%d'",
      settings.hosts, options.show)
    return 2
  end
  if options.plot then -- before what may take minutes
    local ok, why = stage.mkdir(options.plot)
    if not ok then
      complain("cannot write the plots: %s", why)
      return 1
    end
  end

  local runs = performAll(play, fleet, options, stage)
  local measured = {}
  for _, run in ipairs(runs) do
    if run.connections and not run.failed then measured[#measured + 1] = run end
  end
  if options.json and #runs > 0 then io.stdout:write(report.json(runs))
  elseif #measured > 0 then io.stdout:write(report.table(measured)) end
  io.stdout:flush()
  io.stderr:write(report.problems(runs))
  local status = statusOf(runs, #options.policies)
  if options.plot and not draw(measured, options.plot) then status = 1 end
  return status
end

return simulate
