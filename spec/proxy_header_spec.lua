-- The PROXY protocol's header (src/net/proxy.c), held against a second reader
-- that is written from the protocol's text, slow and plain.

local support = require "support"

local PROGRAM = support.EXECUTABLE:gsub("[^/]*$", "programs/proxy_header")
local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- The answers of the program to all these requests.
local function ask(requests)
  local questions = support.tmpfile(table.concat(requests, "\n") .. "\n")
  local pipe = assert(io.popen(("LD_PRELOAD= exec %s <%s"):format(PROGRAM,
    questions)))
  local answers = {}
  for line in pipe:lines() do answers[#answers + 1] = line end
  assert(pipe:close())
  assert.equal(#requests, #answers)
  return answers
end

-- What reads one: "ok LENGTH field=value ...", "bad", or "more".
local function read(...)
  local requests = {}
  for i, bytes in ipairs { ... } do requests[i] = "read " .. hex(bytes) end
  return table.unpack(ask(requests))
end

-- The naive reader -----------------------------------------------------------

-- Groups of an IPv6 address as numbers, or nil.
local function groupsOf(text)
  local function list(part)
    local groups = {}
    if part == "" then return groups end
    for word in (part .. ":"):gmatch "([^:]*):" do
      if word:find "^%x%x?%x?%x?$" then
        groups[#groups + 1] = tonumber(word, 16)
      else
        return nil
      end
    end
    return groups
  end
  -- Its last 32 bits may be written as IPv4.
  local head, a, b, c, d = text:match "^(.*:)(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if head then
    for _, part in ipairs { a, b, c, d } do
      if #part > 3 or part:find "^0." or tonumber(part) > 255 then
        return nil
      end
    end
    text = ("%s%x:%x"):format(head, tonumber(a) << 8 | tonumber(b),
      tonumber(c) << 8 | tonumber(d))
  end
  local before, after = text:match "^(.-)::(.*)$"
  if not before then
    local all = list(text)
    return all and #all == 8 and all
  end
  if after:find "::" or after:find "^:" then return nil end
  local first, last = list(before), list(after)
  if not first or not last or #first + #last > 7 then return nil end
  while #first + #last < 8 do first[#first + 1] = 0 end
  table.move(last, 1, #last, #first + 1, first)
  return first
end

-- As inet_ntop(3) writes it; mapped IPv4 as IPv4.
local function nameOf(groups, port)
  if groups[1] | groups[2] | groups[3] | groups[4] | groups[5] == 0
      and groups[6] == 0xffff then
    return ("%d.%d.%d.%d,%d"):format(groups[7] >> 8, groups[7] & 255,
      groups[8] >> 8, groups[8] & 255, port)
  end
  local from, length = 0, 1
  for i = 1, 8 do
    local n = 0
    while groups[i + n] == 0 do n = n + 1 end
    if n > length then from, length = i, n end
  end
  local v4 = from == 1 and (length == 6 and groups[7] ~= 0)
  local text, i = "", 1
  while i <= 8 do
    if i == from then
      text, i = text .. (i == 1 and "::" or ":"), i + length
    elseif v4 and i == 7 then
      text, i = text .. ("%d.%d.%d.%d"):format(groups[7] >> 8, groups[7] & 255,
        groups[8] >> 8, groups[8] & 255), 9
    else
      text, i = ("%s%x%s"):format(text, groups[i], i < 8 and ":" or ""), i + 1
    end
  end
  return ("%s,%d"):format(text, port)
end

local function v4Of(text)
  local parts = { text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
  if #parts == 0 then return nil end
  for _, part in ipairs(parts) do
    if #part > 3 or part:find "^0." or tonumber(part) > 255 then return nil end
  end
  return text
end

local function portOf(text)
  if not text:find "^%d%d?%d?%d?%d?$" or text:find "^0." then return nil end
  return tonumber(text) <= 65535 and tonumber(text) or nil
end

local function naiveLine(bytes)
  local upto = bytes:find("\n", 1, true)
  local line = bytes:sub(1, upto or #bytes)
  local start = line:sub(1, 6)
  if start ~= ("PROXY "):sub(1, #start) then return "bad" end
  local cr = line:find("\r", 1, true)
  if cr and cr < #line and line:sub(cr) ~= "\r\n" then return "bad" end
  if not upto then
    return #line + (cr and 1 or 2) > 107 and "bad" or "more"
  end
  if not cr or #line > 107 or line:find "%z" then return "bad" end
  local words = {}
  for word in (line:sub(1, -3) .. " "):gmatch "([^ ]*) " do
    words[#words + 1] = word
  end
  local ok = "ok " .. #line .. " version=1"
  if words[2] == "UNKNOWN" then return ok .. " local=1" end
  if #words ~= 6 then return "bad" end
  local from, to = portOf(words[5]), portOf(words[6])
  if not from or not to then return "bad" end
  if words[2] == "TCP4" and v4Of(words[3]) and v4Of(words[4]) then
    return ("%s from=%s,%d to=%s,%d"):format(ok, words[3], from, words[4], to)
  end
  local a, b = groupsOf(words[3]), groupsOf(words[4])
  if words[2] == "TCP6" and a and b then
    return ("%s from=%s to=%s"):format(ok, nameOf(a, from), nameOf(b, to))
  end
  return "bad"
end

local function crc32c(bytes)
  local crc = 0xffffffff
  for i = 1, #bytes do
    crc = crc ~ bytes:byte(i)
    for _ = 1, 8 do
      crc = crc >> 1 ~ (crc & 1 == 1 and 0x82f63b78 or 0)
    end
  end
  return ~crc & 0xffffffff
end

-- TLVs as an array of { type, value, where the value begins }, or nil.
local function tlvsOf(bytes, at)
  local list = {}
  while at <= #bytes do
    if at + 2 > #bytes then return nil end
    local type, length = (">BI2"):unpack(bytes, at)
    if at + 2 + length > #bytes then return nil end
    list[#list + 1] = { type, bytes:sub(at + 3, at + 2 + length), at + 3 }
    at = at + 3 + length
  end
  return list
end

local SIZES = { [0x11] = 12, [0x12] = 12, [0x21] = 36, [0x22] = 36,
  [0x31] = 216, [0x32] = 216 }

local function naiveBinary(bytes)
  if #bytes < 16 then return "more" end
  local command, family, length = (">BBI2"):unpack(bytes, 13)
  if command ~= 0x20 and command ~= 0x21 then return "bad" end
  if #bytes < 16 + length then return "more" end
  bytes = bytes:sub(1, 16 + length)
  local ok = "ok " .. #bytes .. " version=2"
  if command == 0x20 or family == 0 then return ok .. " local=1" end
  local size = SIZES[family]
  if not size or length < size then return "bad" end
  local from, to
  if size == 216 then
    from = "unix," .. hex(bytes:sub(17, 124))
    to = "unix," .. hex(bytes:sub(125, 232))
  else
    local one = (size - 4) // 2
    local function name(at, port)
      if one == 4 then
        return ("%d.%d.%d.%d,%d"):format(bytes:byte(at), bytes:byte(at + 1),
          bytes:byte(at + 2), bytes:byte(at + 3), port)
      end
      local groups = {}
      for i = 0, 7 do groups[i + 1] = (">I2"):unpack(bytes, at + 2 * i) end
      return nameOf(groups, port)
    end
    local fromPort, toPort = (">I2I2"):unpack(bytes, 17 + 2 * one)
    from, to = name(17, fromPort), name(17 + one, toPort)
  end
  local tlvs, seen, told = tlvsOf(bytes, 17 + size), {}, {}
  if not tlvs then return "bad" end
  for _, tlv in ipairs(tlvs) do
    local type, value, at = table.unpack(tlv)
    if type == 2 or type == 3 or type == 5 or type == 0x20 then
      if seen[type] then return "bad" end
      seen[type] = true
    end
    if type == 2 then told.authority = value end
    if type == 5 then
      if #value > 128 then return "bad" end
      told.uniqueId = value
    end
    if type == 3 then
      local zeroed = bytes:sub(1, at - 1) .. "\0\0\0\0" .. bytes:sub(at + 4)
      if #value ~= 4 or (">I4"):unpack(value) ~= crc32c(zeroed) then
        return "bad"
      end
    end
    if type == 0x20 then
      local parts = #value >= 5 and tlvsOf(value, 6)
      if not parts then return "bad" end
      local client, verify = (">BI4"):unpack(value)
      for _, part in ipairs(parts) do
        if part[1] == 0x21 then told.tlsVersion = part[2] end
        if part[1] == 0x22 then told.commonName = part[2] end
      end
      told.tls = client & 1 == 1
      told.verified = told.tls and client & 6 ~= 0 and verify == 0
      if not told.tls then told.tlsVersion = nil end
      if not told.verified then told.commonName = nil end
    end
  end
  local text = ("%s from=%s to=%s"):format(ok, from, to)
  for _, name in ipairs { "uniqueId", "authority", "tls", "tlsVersion",
      "verified", "commonName" } do
    local value = told[name]
    if value == true then text = text .. " " .. name .. "=1"
    elseif value then text = text .. " " .. name .. "=" .. hex(value) end
  end
  return text
end

local function naive(bytes)
  if bytes == "" then return "more" end
  local start = bytes:sub(1, 12)
  if start == SIGNATURE:sub(1, #start) then
    return #bytes < 12 and "more" or naiveBinary(bytes)
  end
  return naiveLine(bytes)
end

-- Headers --------------------------------------------------------------------

local function tlv(type, value) return (">Bs2"):pack(type, value) end

local function tls(client, verify, ...)
  return tlv(0x20, (">BI4"):pack(client, verify) .. table.concat { ... })
end

local function v2(command, family, ...)
  return SIGNATURE .. (">BBs2"):pack(command, family, table.concat { ... })
end

local V4 = "\192\0\2\7\192\0\2\1\x12\x67\1\xbb" -- 192.0.2.7:4711 to .1:443
local V6 = "\x20\1\x0d\xb8" .. ("\0"):rep(11) .. "\7" .. "\x20\1\x0d\xb8"
  .. ("\0"):rep(11) .. "\1" .. "\x12\x67\1\xbb"
local MAPPED = ("\0"):rep(10) .. "\xff\xff\192\0\2\7" .. ("\0"):rep(10)
  .. "\xff\xff\192\0\2\1" .. "\x12\x67\1\xbb"
local PATHS = "/run/a" .. ("\0"):rep(102) .. "/run/b" .. ("\0"):rep(102)

-- With its checksum, four bytes that are found again.
local function summed(bytes)
  local at = assert(bytes:find("\3\0\4####", 1, true)) + 3
  local zeroed = bytes:sub(1, at - 1) .. "\0\0\0\0" .. bytes:sub(at + 4)
  return bytes:sub(1, at - 1) .. (">I4"):pack(crc32c(zeroed))
    .. bytes:sub(at + 4)
end

local HEADERS = {
  "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n",
  "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
  "PROXY TCP6 2001:db8::7 2001:DB8:0:0:0:0:0:1 4711 443\r\n",
  "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
    .. "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
  "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c000:201 4711 443\r\n",
  "PROXY UNKNOWN\r\n",
  "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
    .. "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
  "PROXY UNKNOWN whatever  it is\r\n",
  v2(0x21, 0x11, V4), v2(0x21, 0x21, V6), v2(0x21, 0x21, MAPPED),
  v2(0x21, 0x12, V4), v2(0x21, 0x22, V6), v2(0x21, 0x31, PATHS),
  v2(0x20, 0), v2(0x20, 0x11, V4), v2(0x20, 0xff, ("x"):rep(300)),
  v2(0x21, 0), v2(0x21, 0, "whatever"),
  v2(0x21, 0x11, V4, tlv(5, "id-13"), tlv(2, "db.example")),
  v2(0x21, 0x11, V4, tlv(4, ""), tlv(4, ("\0"):rep(40)), tlv(0xe7, "own")),
  v2(0x21, 0x11, V4, tls(1, 1, tlv(0x21, "TLSv1.3"))),
  v2(0x21, 0x21, V6, tls(3, 0, tlv(0x21, "TLSv1.2"), tlv(0x22, "client"))),
  v2(0x21, 0x11, V4, tls(5, 0, tlv(0x22, "resumed"), tlv(0x23, "AES"))),
  summed(v2(0x21, 0x11, V4, tlv(3, "####"))),
  summed(v2(0x21, 0x21, V6, tlv(2, "a"), tlv(3, "####"), tlv(5, "b"))),
  v2(0x20, 0, ("x"):rep(65535)),
  v2(0x21, 0x11, V4, tlv(4, ("\0"):rep(65520))),
}

describe("A PROXY header", function()
  it("tells the addresses of the client", function()
    local v4 = " from=192.0.2.7,4711 to=192.0.2.1,443"
    local v6 = " from=2001:db8::7,4711 to=2001:db8::1,443"
    assert.same({
      "ok 41 version=1" .. v4, "ok 54 version=1" .. v6,
      "ok 54 version=1" .. v4, "ok 28 version=2" .. v4,
      "ok 52 version=2" .. v6, "ok 52 version=2" .. v4,
      "ok 28 version=2" .. v4,
    }, { read(HEADERS[1], HEADERS[3], HEADERS[5], HEADERS[9], HEADERS[10],
      HEADERS[11], HEADERS[12]) })
    assert.equal("ok 232 version=2 from=unix," .. hex(PATHS:sub(1, 108))
      .. " to=unix," .. hex(PATHS:sub(109)), (read(HEADERS[14])))
  end)

  it("of a proxy that knows no address counts, and all of it is skipped",
    function()
      assert.same({ "ok 15 version=1 local=1", "ok 16 version=2 local=1",
        "ok 28 version=2 local=1", "ok 316 version=2 local=1",
        "ok 24 version=2 local=1", "ok 65551 version=2 local=1" },
        { read(HEADERS[6], HEADERS[15], HEADERS[16], HEADERS[17], HEADERS[19],
          HEADERS[27]) })
    end)

  it("tells an id, the host name asked for, and of TLS", function()
    local function told(...)
      return (read(v2(0x21, 0x11, V4, ...)):match "443 ?(.*)$")
    end
    local version, name = tlv(0x21, "TLSv1.3"), tlv(0x22, "client")
    assert.equal("uniqueId=69642d3133 authority=64622e6578616d706c65",
      told(tlv(5, "id-13"), tlv(2, "db.example")))
    local TLS = "tls=1 tlsVersion=" .. hex "TLSv1.3"
    local whole = TLS .. " verified=1 commonName=" .. hex "client"
    assert.equal(whole, told(tls(3, 0, version, name)))
    assert.equal(whole, told(tls(5, 0, version, name)))
    assert.equal(whole, told(tls(7, 0, version, tlv(0x25, "RSA2048"), name)))
    -- Not verified: it was found wrong, none was shown, or there is no TLS.
    assert.equal(TLS, told(tls(3, 18, version, name)))
    assert.equal(TLS, told(tls(1, 0, version, name)))
    assert.equal("", told(tls(2, 0, version, name)))
    assert.equal("", told(tls(0, 1)))
  end)

  it("has a checksum that is right, or none", function()
    assert.truthy((read(HEADERS[25])):find "^ok 35 ")
    for at = 1, #HEADERS[26] do
      local header = HEADERS[26]
      local other = header:sub(1, at - 1)
        .. string.char(header:byte(at) ~ 1) .. header:sub(at + 1)
      assert.is_nil((read(other)):find "^ok.*from", at)
    end
    assert.equal("bad its checksum is wrong",
      (read(v2(0x21, 0x11, V4, tlv(3, "###")))))
  end)

  it("that is wrong is refused, and why is said", function()
    local line = "its line does not end with one CR and LF"
    local v4 = "PROXY TCP4 1.2.3.4 5.6.7.8 "
    for _, case in ipairs {
      { "GET / HTTP/1.1\r\n\r\n", "it begins like none" },
      { "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "it begins like none" },
      { "\r\n\r\n\0\r\nQUIT\r", "it begins like none" },
      { "PROXY  UNKNOWN\r\n", "neither TCP4, TCP6 nor UNKNOWN" },
      { "PROXY UNKNOWNS\r\n", "neither TCP4, TCP6 nor UNKNOWN" },
      { "PROXY UDP4 1.2.3.4 ::1 1 2\r\n", "neither TCP4, TCP6 nor UNKNOWN" },
      { "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "an address is wrong" },
      { "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", "an address is wrong" },
      { "PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n", "an address is wrong" },
      { "PROXY TCP4 ::1 ::1 1 2\r\n", "an address is wrong" },
      { "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "an address is wrong" },
      { "PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "an address is wrong" },
      { v4 .. "1\r\n", "a port is wrong" },
      { v4 .. "01 2\r\n", "a port is wrong" },
      { v4 .. "1 65536\r\n", "a port is wrong" },
      { v4 .. "1 +2\r\n", "a port is wrong" },
      { v4 .. "1 2 \r\n", "more than two ports" },
      { v4 .. "1 2 3\r\n", "more than two ports" },
      { v4 .. "1 2\0 3\r\n", "its line holds NUL" },
      { v4 .. "1 2\n", line }, { v4 .. "1\r2\r\n", line },
      { "PROXY UNKNOWN\n\r", line },
      { "PROXY UNKNOWN " .. ("x"):rep(92) .. "\r\n",
        "its line is longer than 107 bytes" },
      { v2(0x11, 0x11, V4), "it is of no version that is known" },
      { v2(0x22, 0x11, V4), "its command is neither LOCAL nor PROXY" },
      { v2(0x21, 0x10, V4), "its addresses are of no known kind, or cut" },
      { v2(0x21, 0x41, V4), "its addresses are of no known kind, or cut" },
      { v2(0x21, 0x13, V4), "its addresses are of no known kind, or cut" },
      { v2(0x21, 0x11, "short"), "its addresses are of no known kind, or cut" },
      { v2(0x21, 0x31, V6), "its addresses are of no known kind, or cut" },
      { v2(0x21, 0x11, V4, "\5\0"), "a part of it is cut" },
      { v2(0x21, 0x11, V4, "\5\0\3ab"), "a part of it is cut" },
      { v2(0x21, 0x11, V4, tlv(5, "a"), tlv(5, "a")),
        "a part of it is there twice" },
      { v2(0x21, 0x11, V4, tlv(5, ("x"):rep(129))),
        "its unique id is longer than 128 bytes" },
      { v2(0x21, 0x11, V4, tlv(0x20, "\1\0\0\0")), "its TLS part is cut" },
      { v2(0x21, 0x11, V4, tls(1, 0, "\x22\0\9abc")), "its TLS part is cut" },
    } do
      assert.equal("bad " .. case[2], (read(case[1])), hex(case[1]))
    end
  end)

  it("is read to its end and not further, wherever it is cut", function()
    local requests, expected = {}, {}
    for _, header in ipairs(HEADERS) do
      local step = #header > 1000 and 997 or 1
      for length = 0, #header - 1, step do
        requests[#requests + 1] = "read " .. hex(header:sub(1, length))
        expected[#expected + 1] = "more"
      end
      requests[#requests + 1] = "read " .. hex(header .. header)
      expected[#expected + 1] = naive(header)
      assert.truthy(naive(header):find("^ok " .. #header .. " "))
    end
    assert.same(expected, ask(requests))
  end)

  it("is read as by a naive reader, whatever comes", function()
    local seed = os.time()
    math.randomseed(seed)
    local requests, expected = {}, {}
    local function any(list) return list[math.random(#list)] end
    local function add(bytes)
      requests[#requests + 1] = "read " .. hex(bytes)
      expected[#expected + 1] = naive(bytes)
    end
    local function byte() return string.char(math.random(0, 255)) end
    local words = { "PROXY", "TCP4", "TCP6", "UNKNOWN", "192.0.2.7", "1.2.3.04",
      "::", "::1", "::ffff:1.2.3.4", "1::2::3", "1:2:3:4:5:6:7:8", "12345::",
      "::1.2.3.4", "1:2:3:4:5:6:7::", "0", "65535", "65536", "080", "1", "",
      "1:2:3:4:5:6:1.2.3.4", ":1:2:3:4:5:6:7", "0:0:1::", "ffff::ABCD" }
    local parts = { tlv(2, "host"), tlv(3, "####"), tlv(3, "12345"), tlv(4, ""),
      tlv(5, "id"), tlv(5, ("i"):rep(128)), tls(3, 0, tlv(0x22, "me")),
      tls(1, 0, tlv(0x21, "v")), tls(7, 9, tlv(0x22, "x"), tlv(0x22, "y")),
      tlv(0x20, "\3\0\0\0\0\x22\0\1"), "\2\0", tlv(0xee, "?"), tlv(0x30, "ns") }
    for _ = 1, 600 do
      -- A header with a few bytes changed.
      local bytes = HEADERS[math.random(#HEADERS - 2)]
      for _ = 1, math.random(0, 2) do
        local at = math.random(#bytes)
        local other = math.random(4) > 1 and byte()
          or any { "", " ", "0", "\r" }
        bytes = bytes:sub(1, at - 1) .. other .. bytes:sub(at + 1)
      end
      add(bytes)
      add(bytes:sub(1, math.random(#bytes))) -- and cut short
      -- A line of such words.
      local line = { "PROXY", any { "TCP4", "TCP6", "TCP6", any(words) } }
      for i = 3, any { 6, 6, 6, 6, 5, 7 } do line[i] = any(words) end
      add(table.concat(line, " ") .. any { "\r\n", "\r\n", "\n", "\r" }
        .. "more")
      -- One of such parts.
      local list = {}
      for i = 1, math.random(0, 3) do list[i] = any(parts) end
      local family = any { 0x11, 0x21, 0x31, 0x12 }
      bytes = v2(0x21, family, ({ [0x11] = V4, [0x12] = V4, [0x21] = any { V6,
        MAPPED }, [0x31] = PATHS })[family], table.unpack(list))
      local _, sums = bytes:gsub("\3%z\4####", "")
      add(sums == 1 and summed(bytes) or bytes)
    end
    local answers, counts = ask(requests), {}
    for i, answer in ipairs(answers) do
      local got = answer:gsub("^bad .*", "bad")
      counts[got:match "^%a+"] = (counts[got:match "^%a+"] or 0) + 1
      assert.equal(expected[i], got, ("%s (seed %d)"):format(requests[i], seed))
    end
    assert.is_true(counts.ok > 200 and counts.bad > 200 and counts.more > 20)
  end)

  it("that is written tells what it is to tell", function()
    local requests = {
      "write 1 192.0.2.7,4711 192.0.2.1,443 - -",
      "write 1 ::ffff:192.0.2.7,0 192.0.2.1,65535 - -",
      "write 1 2001:db8::7,4711 2001:db8::1,443 6964 686f7374",
      "write 1 192.0.2.7,4711 2001:db8::1,443 - -",
      "write 1 local local - -",
      "write 1 unix,/run/a unix,/run/b - -",
    }
    local lines = ask(requests)
    for i, line in ipairs {
      "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n",
      "PROXY TCP4 192.0.2.7 192.0.2.1 0 65535\r\n",
      "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n",
      "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 4711 443\r\n",
      "PROXY UNKNOWN\r\n", "PROXY UNKNOWN\r\n",
    } do
      assert.equal(hex(line), lines[i])
    end
    local long = ("61"):rep(256)
    local headers = ask {
      "write 2 192.0.2.7,4711 192.0.2.1,443 - -",
      "write 2 2001:db8::7,4711 2001:db8::1,443 - -",
      "write 2 ::ffff:192.0.2.7,4711 ::ffff:192.0.2.1,443 - -",
      "write 2 192.0.2.7,4711 192.0.2.1,443 69642d3133 64622e6578616d706c65",
      "write 2 local local 6964 686f7374",
      "write 2 unix,/run/a unix,/run/b - -",
      "write 2 unix,/run/a 192.0.2.1,443 - -",
      "write 2 192.0.2.7,4711 192.0.2.1,443 " .. long .. " " .. long,
      "write 2 192.0.2.7,4711 192.0.2.1,443 - - right " .. hex "TLSv1.3" .. " "
        .. hex "me",
      "write 2 192.0.2.7,4711 192.0.2.1,443 - - wrong " .. hex "TLSv1.3"
        .. " -",
      "write 2 192.0.2.7,4711 192.0.2.1,443 69 - none - -",
      "write 2 192.0.2.7,4711 192.0.2.1,443 - - right " .. long .. " " .. long,
      "write 2 local local - - right - " .. hex "me",
    }
    for i, header in ipairs {
      v2(0x21, 0x11, V4), v2(0x21, 0x21, V6), v2(0x21, 0x11, V4),
      v2(0x21, 0x11, V4, tlv(2, "db.example"), tlv(5, "id-13")),
      v2(0x20, 0), v2(0x21, 0x31, PATHS), v2(0x20, 0), v2(0x21, 0x11, V4),
      v2(0x21, 0x11, V4, tls(7, 0, tlv(0x21, "TLSv1.3"), tlv(0x22, "me"))),
      v2(0x21, 0x11, V4, tls(7, 1, tlv(0x21, "TLSv1.3"))),
      v2(0x21, 0x11, V4, tlv(5, "i"), tls(1, 1)),
      v2(0x21, 0x11, V4, tls(7, 0)), v2(0x20, 0),
    } do
      assert.equal(hex(header), headers[i])
    end
    local longest = ask { ("write 2 unix,/%s unix,/b %s %s right %s %s")
      :format(("a"):rep(106), ("62"):rep(128), ("63"):rep(255),
        ("64"):rep(32), ("65"):rep(255)) }
    assert.truthy(longest[1]:find("636363050080", 1, true))
    assert.truthy(longest[1]:find("64642200ff6565", 1, true))
    assert.is_true(#longest[1] // 2 <= 1024)
  end)
end)
