return {
  { module = "metrics", class = "MetricsModule", text = [[
Metrics of a script's own, which stand beside the host's: see [METRICS].

    local metrics = require "callosum.metrics"
    local orders = metrics.counter { name = "shop_orders_total",
      help = "Orders received.", labels = { "country" } }

    orders:inc(1, "NZ")

Label values follow the number, in the order of `labels`. A metric without
labels is there from the start, at 0; one with labels once it was used with
these values. Declaring a metric again returns the same one; with another type,
other labels or other buckets that is an error.

In a reload, values go on if the new script has declared the metric of that name
by then, with that type, those labels and buckets; otherwise it begins anew. A
gauge that the new script has set while it was loaded keeps that value. What the
`unload` handlers of the old script count is added. A script that fails to load,
or is only checked, changes nothing.

All metrics of a script together have at most 1,000 lines of samples: each set
of label values takes one, that of a histogram as many as `buckets` and three
more: those above these, the sum and the count. An observation that would need
more lines is lost, which is logged the first time, and counted in
`callosum_policy_metrics_lost_total`.]],
    functions = {
      { "counter(options: MetricOptions): Counter",
        "Declares a number that only grows." },
      { "gauge(options: MetricOptions): Gauge",
        "Declares a number that goes up and down." },
      { "histogram(options: HistogramOptions): Histogram", [[
Declares a distribution: how many values were up to each of some bounds.]] },
    },
  },

  { record = "MetricOptions", text = "What a metric is:",
    fields = {
      { "name", "string", [[
Letters, digits and `_`. That of a counter ends with `_total`, which is added if
it is left out. Names that begin with `callosum_` are the host's, and no two
metrics may have samples of the same name]] },
      { "help?", "string", "One sentence about it" },
      { "labels?", "string[]", "The names of its labels, 8 at most" },
    },
  },

  { record = "HistogramOptions", text = "What a histogram is:",
    fields = {
      { "name", "string",
        "The same; with the unit at its end, as in `_seconds`" },
      { "help?", "string", "The same" },
      { "labels?", "string[]", "The same" },
      { "buckets?", "number[]", [[
The highest value of each bucket, 1 to 50 ascending numbers from 0; one for all
values above is added. Those for seconds, from 0.005 to 10, if left out]] },
    },
  },

  { class = "Counter", var = "counter", text = "A number that only grows.",
    functions = {
      { "inc(by?: number, ...: string)", [[
Adds a number from 0 on; 1 if it is nil or left out.]] },
    },
  },

  { class = "Gauge", var = "gauge", text = "A number that goes up and down.",
    functions = {
      { "inc(by?: number, ...: string)", "Adds a number, 1 if it is nil." },
      { "dec(by?: number, ...: string)", "Subtracts one." },
      { "set(value: number, ...: string)", "Sets it." },
    },
  },

  { class = "Histogram", var = "histogram", text = "A distribution of values.",
    functions = {
      { "observe(value: number, ...: string)", "Adds a value from 0 on." },
    },
  },
}
