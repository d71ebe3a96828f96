#include "listener.h"

void sim__listener_add(struct sim__machine *machine,
                       struct sim__listener *listener) {
  struct sim__net *net = machine->net;

  listener->machine = machine;
  listener->last = &listener->first;
  listener->prev = NULL;
  listener->next = net->listeners;
  if (listener->next) listener->next->prev = listener;
  net->listeners = listener;
}

void sim__listener_remove(struct sim__listener *listener) {
  if (listener->prev) listener->prev->next = listener->next;
  else listener->machine->net->listeners = listener->next;
  if (listener->next) listener->next->prev = listener->prev;
}

static bool hears(const struct sim__listener *listener,
                  const struct sim__address *address) {
  const struct sim__address *own = &listener->local;

  if (listener->inode > 0 || own->port != address->port) return false;
  return sim__address_is_any(own) || sim__address_is_any(address) ||
         sim__address_is_same_ip(own, address);
}

struct sim__listener *sim__listener_at(const struct sim__machine *machine,
                                       const struct sim__address *address) {
  struct sim__listener *listener = machine->net->listeners;
  while (listener && !hears(listener, address)) listener = listener->next;
  return listener;
}

bool sim__listener_is_full(const struct sim__listener *listener) {
  return listener->waiting > listener->backlog;
}
