---@meta callosum.host

-- What editors know of `require "callosum.host"`, a module in C. No program
-- needs this file.

--- Nil, booleans, numbers, strings, and tables of these.
---@alias callosum.Plain nil|boolean|number|string|table

--- The host that runs this policy. There is such a module in a policy only.
---@class callosum.Host
--- Which policy this is: 1 is the first, and each one that takes over is one
--- more.
---@field generation integer
--- The words behind the policy on the command line.
---@field args string[]
--- What the next policy is to find here, and this one found of the last. Tables
--- have no metatables and are at most 100 deep; all of it is at most 1 MiB.
--- Anything else raises an error where it is assigned, and fails a reload where
--- it was put in later.
---@field carry callosum.Plain
--- The host's log.
---@field log callosum.Log
local host = {}

--- Lines of the log, by level. The command writes them to standard error, from
--- `--log-level` on.
---@class callosum.Log
local Log = {}

--- What helps to follow the policy's doings.
---@param message string
---@param fields? table<string, any> shown by name, tables by what is in them
function Log.debug(message, fields) end

--- What happens in the normal course of things.
---@param message string
---@param fields? table<string, any> shown by name, tables by what is in them
function Log.info(message, fields) end

--- What may want a look.
---@param message string
---@param fields? table<string, any> shown by name, tables by what is in them
function Log.warn(message, fields) end

--- What wants mending.
---@param message string
---@param fields? table<string, any> shown by name, tables by what is in them
function Log.error(message, fields) end

--- Has a handle of luv's that is not bound yet share what the policy before
--- has at that address, which it could not bind itself while that goes on: who
--- connects during a reload is then refused by neither.
---@param handle userdata of `uv.new_tcp` or `uv.new_udp`
---@param address string of IPv4 or IPv6
---@param port integer 0 to 65535
---@return boolean? shared false if there is nothing: bind it then
---@return string? message
---@return string? code "EMFILE", ...
function host.inherit(handle, address, port) end

--- Registers a handler that runs when this policy ends: when another one has
--- taken over its rovers and sockets, or when the host stops, before they are
--- closed.
---@param event "unload"
---@param fn fun()
function host.on(event, fn) end

--- Loads the policy's file again in the next turn of the loop, as SIGHUP does.
--- The log tells how that went. Not done, and logged as ignored, while the
--- policy is being loaded and once it has ended.
function host.reload() end

--- Stops the host in order in the next turn of the loop: `unload` handlers run
--- and sockets are closed. While the policy is being loaded, that waits until
--- it is; once it has ended, it is not done, and logged as ignored.
---@param status? integer the command's exit status, 0 to 255 (0)
function host.stop(status) end

return host
