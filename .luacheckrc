std = "lua54"
max_line_length = 80
files["spec"] = { std = "+busted" }
files["examples/policy_spec.lua"] = { std = "+busted" }
-- A type in an annotation cannot be broken into lines.
files["lua/callosum"] = { max_comment_line_length = false }
-- Declarations for editors: what they declare, nothing here uses.
files["lua/callosum/meta"] = { unused_args = false, ignore = { "241" } }
-- The language of timelines: `simulate`.
local timeline = { read_globals = { "at", "every", "fleet", "scenario" } }
files["lua/callosum/simulate/scenarios"] = timeline
files["examples/fleet_test.lua"] = timeline
files["spec/bench/balance_pacing_timeline.lua"] = timeline
files["spec/bench/simulate_timeline.lua"] = timeline
