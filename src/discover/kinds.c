#include "provider.h"

#include "consul.h"
#include "dns.h"
#include "etcd.h"
#include "file.h"
#include "http.h"
#include "kubernetes.h"

#include <stddef.h>

/* What sources can ask. */
const struct discover__kind *const discover__kinds[] = {
    &discover__file,   &discover__dns,
    &discover__srv,    &discover__http,
    &discover__consul, &discover__etcd,
    &discover__kubernetes, NULL};
