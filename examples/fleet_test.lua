-- A test of a policy, for continuous integration: a fleet of 40 hosts in which
-- two servers are restarted and one is lost. Ends with 1 and the line that
-- failed, if one does:
--
--   build/callosum-rover simulate --scenario examples/fleet_test.lua POLICY

scenario { hosts = 40, servers = 8, seconds = 240 }

-- Within half a minute every host has its ten connections, evenly spread.
-- (Write here how many your policy keeps.)
at(30, function()
  assert(fleet.fill >= 10)
  assert(fleet.peak < 1.1)
end)

at(60).restart("s1", 5)
at(80).restart("s2", 5)
at(120).crash("s3", "silence")

-- Nobody is ever left with fewer than five, ...
every(1).from(30)(function() assert(fleet.fill >= 5) end)

-- ... nor a server with nothing to do, ...
at(fleet.seconds, function()
  assert(fleet.min > 0.8 and fleet.peak < 1.1)
  -- ... and it costs each client less than a connection a second.
  assert(fleet.report.churn < 1, "too many probes")
  assert(fleet.errors == 0, "the policy has errors")
end)
