return {
  { module = "slots", class = "SlotsModule", text = [[
Slot numbers, of which the lowest free one is always next. `s:get()` and
`s:put()` take O(log n); memory is bounded by the most slots that were ever
taken at once.

    local slots = require "callosum.slots"
    local s = slots.new { max = 1000 }
    local slot = s:get() --> 0
    s:put(slot)]],
    functions = {
      { "new(options?: SlotsOptions): Slots",
        "Makes a set of slots, all of them free." },
    },
  },

  { record = "SlotsOptions",
    text = "The options of a set of slots, all optional:",
    fields = {
      { of = "lua/callosum/slots.lua", map = "known" },
    },
  },

  { class = "Slots", parent = "SlotSource", var = "s", text = "A set of slots.",
    functions = {
      { "get(): integer slot", [[
Takes the lowest free slot, from 0 up; with a weight above 1, several
connections have the same.]],
        errors = { { "EAGAIN", "if all of them are taken" } } },
      { "put(slot: integer): Slots", [[
Frees a slot, once for each time that it was taken. Freeing one that is not
taken is an error, and changes nothing: freed twice, it would be given to two
connections.]] },
      { "count(): integer", "Returns how many slots are taken." },
    },
  },
}
