return {
  { module = "host", class = "Host", text = [[
The host that runs this policy. The module exists in policies only.]],
    fields = {
      { "args", "string[]", "The arguments behind the script" },
      { "generation", "integer", [[
1 in the first policy that is loaded, and one more after each reload]] },
      { "carry", "Plain", [[
What the policy hands to the next one, which finds it here; nil in the first.
Anything but plain data raises an error where it is assigned: see
[RELOADING].]] },
      { "log", "Log", "The log of the host" },
    },
    functions = {
      { "inherit(handle: userdata, address: string, port: integer): boolean",
        [[
Makes a new handle of luv's, of `uv.new_tcp` or `uv.new_udp`, share what the
previous policy has bound to that address and port: see [RELOADING]. Returns
whether there was anything to share; if not, bind the handle as usual.]],
        errors = { { "EMFILE", "and other errors" } } },
      { "on(event: \"unload\", fn: fun())", [[
Registers a function that is called when the policy ends: when the host stops,
while its sockets are still open, and in a reload, once the new policy has taken
over. Functions are called in the order in which they were registered.]] },
      { "reload()", [[
Loads the script anew, in the next turn of the loop. The log reports the
outcome. While the policy is being loaded and once it has ended, the call is
ignored, and the log says so.]] },
      { "stop(status?: integer)", [[
Stops the host, in the next turn of the loop: `unload` handlers run and sockets
are closed. `status`, 0 to 255, is the exit status of callosum-rover(1); 0 if
left out. While the policy is being loaded, this waits until it is; once the
policy has ended, the call is ignored, and the log says so.]] },
    },
  },

  { alias = "Plain", type = "nil|boolean|number|string|table", text = [[
Nil, booleans, numbers, strings, and tables of these.]] },

  { class = "Log", static = true, var = "host.log", text = [[
The log. callosum-rover(1) writes it to standard error. The fields are shown by
name: numbers and booleans stay such in JSON; a table without `__tostring` is
shown by its contents, as `{1, 'two', port=80}`, up to 1000 bytes, 32 entries
and four levels; other values as by `tostring`.]],
    functions = {
      { "debug(message: string, fields?: table<string, any>)",
        "Logs what helps in following what a policy does." },
      { "info(message: string, fields?: table<string, any>)",
        "Logs what happens in the normal course of things." },
      { "warn(message: string, fields?: table<string, any>)",
        "Logs what may need attention." },
      { "error(message: string, fields?: table<string, any>)",
        "Logs what needs to be fixed." },
    },
  },
}
