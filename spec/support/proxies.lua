-- PROXY headers, and programs that speak them: `require "support.proxies"`.

local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"
local tcp = require "support.tcp"

local proxies = {}

proxies.SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

--- A part of a header of version 2.
-- @param type a number
-- @param value a string
function proxies.tlv(type, value) return (">Bs2"):pack(type, value) end

--- A header of version 2.
-- @param command 0x20 (LOCAL) or 0x21 (PROXY)
-- @param family 0x11 (TCP4), 0x21 (TCP6), 0x31 (Unix) or 0
-- @param ... addresses and parts, strings
function proxies.v2(command_, family, ...)
  return proxies.SIGNATURE
    .. (">BBs2"):pack(command_, family, table.concat { ... })
end

--- 192.0.2.7:4711 to 192.0.2.1:443, in version 2.
proxies.V4 = "\192\0\2\7\192\0\2\1\x12\x67\1\xbb"

-- To try to listen there would get in a program's way, and to connect would be
-- passed on.
local function isListening(port)
  local entry = ("^%%s*%%d+: %%x+:%04X %%x+:%%x+ 0A "):format(port)
  for line in io.lines "/proc/net/tcp" do
    if line:find(entry) then return true end
  end
  return false
end

-- Runs the loop until somebody listens there, or the child has ended.
local function started(child, port)
  loop.eventually(function() return child.code or isListening(port) end)
  if child.code then error(child.output, 2) end
  return child
end

--- Starts HAProxy; it ends with the test.
-- @param text the proxies of its configuration
-- @param port one that it will listen on
-- @return the child
function proxies.haproxy(text, port)
  local path = files.tmpfile([[
global
  log stderr format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option tcp-smart-connect
]] .. text .. "\n", "haproxy.cfg")
  return started(process.spawn("haproxy", { "-db", "-f", path }), port)
end

--- Starts nginx; it ends with the test.
-- @param text its http or stream block; PORT stands for the port
-- @param port one that it will listen on
-- @param master whether it has workers, and can be reloaded
-- @return the child
function proxies.nginx(text, port, master)
  local dir = files.tmpdir()
  text = text:gsub("^%s*stream {", [[
load_module modules/ngx_stream_module.so;
stream {]])
  text = text:gsub("^%s*http {", [[
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;]])
  local path = files.write(dir .. "/nginx.conf", (text .. [[
daemon off;
master_process MASTER;
pid DIR/pid;
error_log stderr;
events {}
]]):gsub("DIR", dir):gsub("PORT", port):gsub("MASTER",
    master and "on" or "off"))
  return started(process.spawn("nginx", { "-e", "stderr", "-c", path }), port)
end

--- Starts nginx, whose answer to any request tells what the PROXY header told.
-- @param port the port
-- @return the child
function proxies.told(port)
  return proxies.nginx([[
http {
  server {
    listen 127.0.0.1:PORT proxy_protocol;
    location / {
      return 200 "<$proxy_protocol_addr $proxy_protocol_port $request_method>";
    }
  }
}
]], port)
end

--- Starts nginx, which passes connections on behind a PROXY header.
-- @param port the port
-- @param to where to
-- @return the child
function proxies.stream(port, to)
  return proxies.nginx(([[
stream {
  server {
    listen 127.0.0.1:PORT;
    proxy_pass 127.0.0.1:%d;
    proxy_protocol on;
  }
}
]]):format(to), port)
end

--- Starts nginx, which takes TLS off connections and passes them on.
-- @param port the port
-- @param to where to
-- @param tls lines of its configuration, about certificates
-- @return the child
function proxies.secured(port, to, tls)
  return proxies.nginx(([[
stream {
  server {
    listen 127.0.0.1:PORT ssl;
    %s
    proxy_pass 127.0.0.1:%d;
  }
}
]]):format(tls, to), port)
end

--- Starts stunnel; it ends with the test.
-- @param text its services
-- @param port one that it will listen on
-- @return the child
function proxies.stunnel(text, port)
  local path = files.tmpfile("foreground = yes\npid =\nsyslog = no\n"
    .. "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n" .. text .. "\n",
    "stunnel.conf")
  return started(process.spawn("stunnel", { path }), port)
end

--- Ends programs that this started, before their test does.
-- @param ... their children
function proxies.stop(...)
  for _, child in ipairs { ... } do
    child:kill()
    child:wait()
  end
end

--- Tells whether what is sent through one comes back.
-- @param port its port, with an echo behind it
function proxies.echoes(port)
  local peer = tcp.connect(port):write "hello"
  loop.run(function()
    return peer.received == "hello" or peer.ended or peer.closed
  end)
  peer:close()
  return peer.received == "hello"
end

return proxies
