#include <callosum/rover.h>

#include "../net/cidr.h"

const char *rover_cidr_check(const char *text) {
  struct net__cidr cidr;
  return text ? net__cidr_parse(text, &cidr) : "it is NULL";
}
