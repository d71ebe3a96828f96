-- The figures of simulated runs, held against ones that were computed by hand.

local figures = require "callosum.simulate.figures"

local function near(expected, value)
  assert.is_true(math.abs(expected - value) < 1e-9, ("%g expected, got %g")
    :format(expected, value))
end

local UP = { true, true, true, true }

describe("a sample", function()
  it("has the ratios of the most and the least to the mean", function()
    local sample = figures.look({ 80, 100, 100, 120 }, UP, {})
    assert.equal(400, sample.total)
    near(100, sample.mean)
    near(1.2, sample.peak)
    near(0.8, sample.min)
    near(math.sqrt(0.08 / 4), sample.cv) -- of 0.2², 0, 0, 0.2²
  end)

  it("does not count servers that are down", function()
    local sample = figures.look({ 0, 90, 110, 7 }, { false, true, true, false },
      {})
    assert.equal(200, sample.total)
    near(1.1, sample.peak)
    near(0.9, sample.min)
    near(0.1, sample.cv)
  end)

  it("expects of each server what its weight says", function()
    local sample = figures.look({ 50, 100, 200 }, UP, { [1] = 0.5, [3] = 2 })
    near(100, sample.mean)
    near(1, sample.peak)
    near(1, sample.min)
    near(0, sample.cv)
    sample = figures.look({ 100, 100 }, UP, { [2] = 3 })
    near(50, sample.mean)
    near(2, sample.peak)
    near(2 / 3, sample.min)
  end)

  it("is as uneven as can be without a connection", function()
    for _, sample in ipairs { figures.look({ 0, 0 }, UP, {}),
        figures.look({ 5 }, { false }, {}), figures.look({}, {}, {}) } do
      assert.same({ 0, math.huge, 0, math.huge },
        { sample.total, sample.peak, sample.min, sample.cv })
    end
  end)
end)

-- Samples each second, with these peaks.
local function peaks(...)
  local list = {}
  for i, peak in ipairs { ... } do
    list[i] = { at = i - 1, peak = peak, min = 2 - peak, cv = peak - 1,
      total = 100, opens = 10 * (i - 1) }
  end
  return list
end

local function below(limit)
  return function(sample) return sample.peak <= limit end
end

describe("the time to a goal", function()
  it("is that to the first of 5 s in which it is held", function()
    local samples = peaks(1.5, 1.3, 1.1, 1.1, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert.equal(2, figures.timeTo(samples, 0, below(1.10)))
    samples[8].peak = 1.2 -- at 7 s: held from 2 to 6 s
    assert.is_nil(figures.timeTo(samples, 0, below(1.10)))
  end)

  it("begins anew when it was lost", function()
    local samples = peaks(1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1)
    assert.equal(6, figures.timeTo(samples, 0, below(1.10)))
  end)

  it("is counted from the time given", function()
    local samples = peaks(1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1)
    assert.equal(0, figures.timeTo(samples, 0, below(1.10)))
    assert.equal(0, figures.timeTo(samples, 1, below(1.10)))
    assert.equal(6, figures.timeTo(samples, 2, below(1.10)))
  end)

  it("is none if the run ends before it was held", function()
    assert.is_nil(figures.timeTo(peaks(1, 1, 1, 1, 1), 0, below(1.10)))
    assert.equal(0, figures.timeTo(peaks(1, 1, 1, 1, 1, 1), 0, below(1.10)))
    assert.is_nil(figures.timeTo({}, 0, below(1.10)))
  end)
end)

describe("the figures of connections", function()
  it("have the median of the last two seconds as the end", function()
    local samples = peaks(9, 9, 9, 1.5, 1.25)
    table.insert(samples, { at = 4.5, peak = 1.75 })
    assert.equal(1.5, figures.last(samples, "peak"))
    samples[#samples].peak = nil
    assert.equal(1.25, figures.last(samples, "peak"))
    assert.is_nil(figures.last({}, "peak"))
  end)

  it("count from the first change, and times from the last", function()
    local samples = peaks(3, 1, 1, 1, 1.25, 1.5, 1.2, 1.0625, 1.0625, 1.03125,
      1.03125, 1.03125, 1.03125, 1.03125, 1.03125)
    samples[1].min = 0
    local c = figures.connections(samples, { { at = 0, text = "weight s1" },
      { at = 3, text = "restart s1", till = 5 } }, 10)
    assert.same({ 3, 5 }, { c.from, c.settling })
    assert.equal(1.5, c.worst)
    assert.equal(1.03125, c.peak)
    assert.equal(2 - 1.03125, c.min)
    assert.equal(2, c.to110) -- at 7 s
    assert.equal(4, c.to105) -- at 9 s
    assert.equal(2, c.to90) -- min is 0.9375 at 7 s
    assert.same({ 30, 110 }, { c.opensBefore, c.opens })
    assert.equal(1, c.churn) -- 110 of 10 hosts in 11 s
  end)

  it("without a change are those of the filled fleet", function()
    local samples = peaks(9, 4, 1.5, 1.25, 1)
    for i, total in ipairs { 1, 50, 89, 90, 100 } do
      samples[i].total = total
    end
    local c = figures.connections(samples, {}, 1)
    assert.same({ 3, 0, 1.25 }, { c.from, c.settling, c.worst })
    assert.same({ 0, 40, 10 }, { c.opensBefore, c.opens, c.churn })
  end)

  it("know the least that a host had, at worst and at the end", function()
    local samples = peaks(1, 1, 1, 1, 1, 1, 1, 1)
    for at, fill in pairs { [0] = 0, [2] = 10, [3] = 7, [5] = 8, [6] = 9 } do
      samples[at + 1].fill, samples[at + 1].most = fill, fill + 1
    end
    local c = figures.connections(samples, { { at = 2, text = "x" } }, 1)
    assert.same({ 7, 9, 11 }, { c.leastFill, c.fill, c.target })
  end)

  it("of a run without a sample are none", function()
    assert.same({ from = 0 }, figures.connections({}, {}, 1))
  end)
end)
