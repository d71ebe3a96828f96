-- Options of the sources that speak HTTP, behind those that each has.
local function web(fields)
  table.move({
    { "path?", "string", range = "1 to 4096 bytes", [[
The path of a Unix socket, to connect to instead of the URL's host]] },
    { "headers?", "table<string, string>", "Headers of each request, by name" },
    { "tokenFile?", "string", range = "1 to 4096 bytes", [[
The path of a file with a token, which is read anew for each request and sent as
its `Authorization` header. The loop waits for it, so it belongs on a local
disk: a network file system that hangs would hold up everything]] },
    { "tls?", "table<string, string>", [[
For https: `ca`, `cert` and `key` are paths of PEM files, with the CAs that the
server's certificate may be of (by default, the system's), and a certificate of
one's own, which are read anew for each connection; `serverName` is the name in
the server's certificate, if that is not the URL's host]] },
  }, 1, 4, #fields + 1, fields)
  return fields
end

return {
  { module = "discover", class = "DiscoverModule", text = [[
Finds the servers of rovers. Handlers are called as those of `callosum.rover`
are.]],
    functions = {
      { "file(options: FileOptions): Source source", [[
Makes a source that reads a file, and reads it again when it, or what its path
leads through, has changed; by default, it also looks every 30 s. Nothing is
read before the source is attached to a rover.]] },
      { "dns(options: DnsOptions): Source source", [[
Makes a source that looks up the addresses of a name, all of which have one
port.]] },
      { "srv(options: SrvOptions): Source source", [[
Makes a source that looks up the SRV records of a service, and the addresses of
their targets. Only the records of the lowest priority count. Their weights
become those of the servers.]] },
      { "http(options: HttpOptions): Source source", [[
Makes a source that gets a list from a URL, every 30 s by default. If the answer
has an ETag, the next request says so, and the server may answer that nothing
has changed (304). Any other code than 200 is a failure: redirects are not
followed.]] },
      { "consul(options: ConsulOptions): Source source", [[
Makes a source of the instances of a service in Consul that pass their checks.
It asks by blocking queries, so that it knows of changes at once. The interval,
300 s by default, is that at which it asks for all of them again. An instance's
weight (`Passing`) is that of the server.]] },
      { "etcd(options: EtcdOptions): Source source", [[
Makes a source of the keys in etcd that begin with a prefix, by the JSON gateway
of etcd 3.4 and later. It reads them and watches what changes; and reads them
again at the interval, 60 s by default, when its watch is cancelled or fails,
and before it believes that many are gone. The value of a key is an address, as
`10.0.0.7:4040`; an object, as `{"host": "10.0.0.7", "port": 4040}`, perhaps
with a `weight`; or what etcd's own clients register, `{"Addr":
"10.0.0.7:4040"}`. A key without a value ends with the address, behind the last
slash. Others are left out.]] },
      { "kubernetes(options: KubernetesOptions): Source source", [[
Makes a source of the endpoints of a service in Kubernetes that are ready, from
its EndpointSlices (discovery.k8s.io/v1), which it lists and watches; and lists
again at the interval, 300 s by default. In a pod it needs no more than the name
of the service, and a service account that may list and watch
EndpointSlices.]] },
    },
  },

  { record = "SourceOptions", text = "The options of all sources:",
    fields = {
      { "name", "string", default = '"main"', range = "1 to 255 bytes", [[
The name of the source in messages, and in a reload: the source of the same name
in the new policy goes on with what it has learned. If it asks something else,
the servers stay until there is an answer, which is believed without `maxDrop`;
other headers, another token or other certificates are not something else. No
two sources of a policy may have the same name]] },
      { map = "ROVER_SOURCE_OPTIONS_MAP", of = "src/callosum/discover.h" },
      { "port?", "integer", range = "1 to 65535",
        "The port of servers that are listed without one" },
      { "family", '"auto"|"ipv4"|"ipv6"', default = '"auto"',
        "The family of the addresses that names are looked up for" },
      { "cache?", "string", range = "1 to 4096 bytes", [[
The path of a file in which the servers are kept: at its next start the source
begins with these, even if there is no network. The first answer after that is
believed without `maxDrop`]] },
    },
  },

  { record = "FileOptions", parent = "SourceOptions",
    text = "The options of a file, beside those of all sources:",
    fields = {
      { "path", "string", range = "1 to 4096 bytes", "The path of the file" },
    },
  },

  { record = "DnsOptions", parent = "SourceOptions", text = [[
The options of a name, beside those of all sources, of which `port` is
required:]],
    fields = {
      { "host", "string", range = "1 to 4096 bytes", [[
The name. It is asked for as it is: without search domains, and without
/etc/hosts]] },
      { "servers?", "string", [[
The addresses of the DNS servers to ask, as `10.0.0.53,[::1]:5353`. By default,
those of /etc/resolv.conf, which is read anew each time]] },
    },
  },

  { record = "SrvOptions", parent = "SourceOptions",
    text = "The options of a service in DNS, beside those of all sources:",
    fields = {
      { "service", "string", range = "1 to 4096 bytes",
        "The name of the service, as `_web._tcp.example.com`" },
      { "servers?", "string", "As of `dns`" },
    },
  },

  { record = "HttpOptions", parent = "SourceOptions",
    text = "The options of HTTP, beside those of all sources:",
    fields = web {
      { "url", "string", "The URL of a list, `http:` or `https:`" },
    },
  },

  { record = "ConsulOptions", parent = "SourceOptions",
    text = "The options of Consul, beside those of all sources:",
    fields = web {
      { "service", "string", range = "1 to 4096 bytes",
        "The name of the service" },
      { "url", "string", default = '"http://127.0.0.1:8500"',
        "The URL of an agent" },
      { "datacenter?", "string", range = "1 to 4096 bytes",
        "The datacenter, if not that of the agent" },
      { "tag?", "string", range = "1 to 4096 bytes",
        "A tag that the instances must have" },
    },
  },

  { record = "EtcdOptions", parent = "SourceOptions",
    text = "The options of etcd, beside those of all sources:",
    fields = web {
      { "prefix", "string", range = "1 to 4096 bytes",
        "What the keys begin with, as `/web/`" },
      { "url", "string", default = '"http://127.0.0.1:2379"',
        "The URL of a member" },
    },
  },

  { record = "KubernetesOptions", parent = "SourceOptions", text = [[
The options of Kubernetes, beside those of all sources, of which `port` goes
before `portName`:]],
    fields = web {
      { "service", "string", range = "1 to 4096 bytes",
        "The name of the service" },
      { "namespace", "string", default = '"default"',
        range = "1 to 4096 bytes", "Its namespace" },
      { "portName?", "string", range = "1 to 4096 bytes", [[
Which of the service's ports counts. By default, its first TCP port]] },
      { "url?", "string", [[
The URL of the API server. By default, the one that a pod finds in its
environment; `tokenFile` and `tls.ca` are then those of its service account]] },
    },
  },

  { record = "SourceStats", text = [[
Counters since the source was made, which a reload does not reset; those from
`servers` on are current.]],
    fields = {
      { map = "ROVER_SOURCE_STATS_MAP", of = "src/callosum/discover.h" },
    },
  },

  { class = "Source", var = "d", text = [[
A source of servers. It looks its list up again and again, and adds servers to
its rovers and drops them accordingly. A server's id is its address and port,
`10.0.0.7:4040` or `[::1]:4040`. A server is there as long as a source lists it,
or the policy has added it. `r:dropServer()` drops it all the same, also against
sources that are attached later and across reloads, until the policy adds it
again, or a source lists it anew after none did.

A source whose look-up fails changes nothing: the servers stay, however long
that lasts, and it tries again after 1 s, then 2 s and so on up to 60 s. The
same is true of an empty list, which is looked up at the usual interval, unless
`allowEmpty` is set; and if more than `maxDrop` of the servers are gone, that
must be so in `confirm` answers in succession that lack about the same servers.
A look-up that fails, or brings nothing or only a part, begins that count anew,
and so does one that lacks others: a list of which each time another part is
missing takes nobody away. What a watch takes one by one is counted together
until all is listed again. A server that is gone is dropped after
`removalDelay`, and not at all if it is back before. Its sockets stay; a pool
lends them last, and replaces them first. Servers that are listed as before are
not touched.

If a watch fails, all is listed again after a random time of about a second. If
watches end as soon as they have begun, or Consul's blocking queries are
answered at once without a change, as by a proxy that drops their `index`, the
time between them doubles up to 60 s, until one has lasted 10 s; from the fourth
on, the source is `stale` and has an `error` for each.]],
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Source",
        "Registers a handler, as `r:on()` does." },
      { "once(event: string, fn: function, options?: HandlerOptions): Source",
        "Registers a handler that is removed when it is first called." },
      { "off(event: string, fn: function): Source",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "attach(rover: Rover): Source", [[
Gives the rover all servers that are found, until source or rover are closed. It
may be called for several rovers. The first call starts the source; in a policy
that is being loaded, that is once the whole script has run.]] },
      { "stats(): SourceStats", [[
Returns a new table of counters. In a policy that was replaced, they are those
of that moment.]] },
      { "close(): Source", [[
Stops looking, and takes the servers from its rovers. Any other method of a
closed source raises an error.]] },
    },
    events = {
      { "update(added: string[], dropped: string[])", [[
Servers were added and dropped; these are their ids, at most 1,000 in a call.]]
      },
      { "error(err: Error)", [[
A look-up failed, or its answer was not believed: the message says why, and what
becomes of the servers. `ENOENT` is an empty list, or a file that is not there,
`EPROTO` one that cannot be read, `ETIMEDOUT` a look-up that took longer than
`timeout`, and `EAGAIN` an answer that is not believed yet. If nothing listens,
the host logs an error, and luv prints it.]] },
    },
  },
}
