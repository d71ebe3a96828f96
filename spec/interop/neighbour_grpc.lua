-- What callosum-neighbours(7) says of gRPC, with its library for Python.

local neighbours = require "support.neighbours"
local real = require "support.real"

local row, complete, seen = neighbours.section("GRPC", it)

local PYTHON = "/usr/bin/python3" -- Debian's, for which its library is

-- Two servers, which say their own names, and a client of the relay, whose port
-- it reads. It finds a channel that leads to the first, on which eight threads
-- then make one call after another, until they have reached the second.
local PROGRAM = [[
import sys, threading, time
from concurrent import futures
import grpc

class Handler(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)
    def answer(self, request, context):
        time.sleep(0.02)
        return self.name

def start(name):
    pool = futures.ThreadPoolExecutor(16)
%s
    server.add_generic_rpc_handlers((Handler(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port

first, second = start(b"first"), start(b"second")
print("ports", first[1], second[1], flush=True)
address = "127.0.0.1:" + sys.stdin.readline().strip()

def connect():
    channel = grpc.insecure_channel(
        address, [("grpc.use_local_subchannel_pool", 1)])
    return channel.unary_unary("/any/call")

call = connect()
while call(b"") != b"first":
    call = connect()
print("calling", flush=True)

failures = []
def run():
    answer = b"first"
    while answer != b"second":
        try:
            answer = call(b"")
        except grpc.RpcError as error:
            failures.append(error.code().name)

threads = [threading.Thread(target=run) for _ in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print("failed:", *sorted(set(failures)), flush=True)
]]

describe("gRPC", function()
  seen(neighbours.output(PYTHON, "-c", "import grpc; print(grpc.__version__)")
    :match "^%d+%.%d+")

  row("A drain fails calls of a channel that never pauses", function(example)
    local text = example("server.py", { ["10000"] = 300 })
    local runs = {}
    local function start(server)
      local program = PROGRAM:format((server:gsub("([^\n]+)", "    %1")))
      local child = real.starts(PYTHON, { "-c", program })
      local first, second = child:waitFor("ports (%d+) (%d+)\n", 30)
      local front = real.front(math.tointeger(first))
      local relay = real.relay({ front.port,
        real.front(math.tointeger(second)).port }, { maxSlots = 4 })
      child:write(relay.port .. "\n")
      child:waitFor "calling\n"
      front:write "drain 3000\n"
      runs[#runs + 1] = child
    end
    start(text)
    start "server = grpc.server(pool)\n"
    assert.equal("", runs[1]:waitFor "failed:([^\n]*)\n")
    assert.equal(" UNAVAILABLE", runs[2]:waitFor "failed:([^\n]*)\n")
    for _, child in ipairs(runs) do
      child:kill "sigkill"
      child:wait()
    end
  end)

  complete()
end)
