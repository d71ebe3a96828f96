#include "door.h"

#include <string.h>
#include <strings.h>
#include <uv.h>

/* Whoever can connect to a Unix socket may do all, as its permissions say who
 * can. On a TCP port, the browser of somebody on this machine can be made to
 * connect by any web page, so:
 *
 *   - Host must name this machine. A page whose own name its author has
 *     pointed to our address (DNS rebinding) sends that name. The port does
 *     not matter: tunnels have others.
 *   - Origin, where there is one, must be that of Host: another page's script
 *     is refused, and so is a page from another port of this machine.
 *   - What a browser says is requested by another site (Sec-Fetch-Site) is
 *     refused, unless somebody follows a link to a page of ours.
 *   - Changes are POSTs with a header that forms cannot send, and scripts of
 *     another origin only after asking with OPTIONS, which is refused.
 *
 * The last three hold on Unix sockets, too: a proxy may be in front. */

/* "name", "name:80", "[::1]:80"; or the part before the port is empty. */
static struct admin__text without_port(struct admin__text host) {
  const char *end;

  if (host.length > 0 && *host.bytes == '[') {
    end = memchr(host.bytes, ']', host.length);
    host.bytes++;
    host.length = end ? (size_t)(end - host.bytes) : 0;
  } else {
    end = memchr(host.bytes, ':', host.length);
    if (end) host.length = (size_t)(end - host.bytes);
  }
  return host;
}

static bool is_same_address(struct admin__text host,
                            const struct sockaddr *local) {
  static const unsigned char mapped[12] = {0, 0, 0, 0, 0,    0,
                                           0, 0, 0, 0, 0xff, 0xff};
  const struct sockaddr_in6 *own_v6 = (const struct sockaddr_in6 *)local;
  const struct sockaddr_in *own_v4 = (const struct sockaddr_in *)local;
  struct sockaddr_in6 v6;
  struct sockaddr_in v4;
  char text[INET6_ADDRSTRLEN];

  if (host.length >= sizeof text) return false;
  memcpy(text, host.bytes, host.length);
  text[host.length] = '\0';
  if (uv_ip4_addr(text, 0, &v4) == 0) {
    if (local->sa_family == AF_INET)
      return !memcmp(&v4.sin_addr, &own_v4->sin_addr, 4);
    return !memcmp(&own_v6->sin6_addr, mapped, sizeof mapped) &&
           !memcmp((const char *)&own_v6->sin6_addr + sizeof mapped,
                   &v4.sin_addr, 4);
  }
  return local->sa_family == AF_INET6 && uv_ip6_addr(text, 0, &v6) == 0 &&
         !memcmp(&v6.sin6_addr, &own_v6->sin6_addr, sizeof v6.sin6_addr);
}

static bool is_ours(const struct admin__door *door,
                    const struct sockaddr *local, struct admin__text host) {
  host = without_port(host);
  if (admin__text_is_folded(host, "localhost")) return true;
  for (const char *const *name = door->hosts; name && *name; name++)
    if (admin__text_is_folded(host, *name)) return true;
  return is_same_address(host, local);
}

/* "http://HOST", also where a proxy has the encryption. */
static bool is_same_origin(struct admin__text origin, struct admin__text host) {
  static const char *const schemes[] = {"http://", "https://"};

  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    size_t length = strlen(schemes[i]);
    if (host.bytes && origin.length == length + host.length &&
        !memcmp(origin.bytes, schemes[i], length) &&
        !strncasecmp(origin.bytes + length, host.bytes, host.length))
      return true;
  }
  return false;
}

/* Somebody has followed a link: the answer is shown to nobody else. */
static bool follows_link(const struct admin__request *r) {
  return r->method == ADMIN_GET && admin__text_is(r->fetch_mode, "navigate") &&
         admin__text_is(r->fetch_dest, "document");
}

int admin__door_check(const struct admin__door *door,
                      const struct sockaddr *local,
                      const struct admin__request *r, const char **why) {
  if (!door->is_unix && !r->host.bytes) {
    *why = "the request has no Host";
    return 400;
  }
  if (!door->is_unix && (!local || !is_ours(door, local, r->host))) {
    *why = "Host is not this machine's address, localhost or a name given by "
           "--admin-host";
    return 421;
  }
  if (r->origin.bytes && !is_same_origin(r->origin, r->host)) {
    *why = "a page of another origin has asked";
    return 403;
  }
  if (r->fetch_site.bytes && !admin__text_is(r->fetch_site, "same-origin") &&
      !admin__text_is(r->fetch_site, "none") && !follows_link(r)) {
    *why = "a page of another site has asked";
    return 403;
  }
  return 0;
}

int admin__door_check_control(const struct admin__door *door,
                              const struct admin__request *r,
                              const char **why) {
  if (!door->controls) {
    *why = "this address is read-only: use the Unix socket, or start the host "
           "with --admin-control and an address of this machine alone";
    return 403;
  }
  if (!admin__text_is(r->control, "1")) {
    *why = "send the header Callosum-Control: 1";
    return 403;
  }
  return 0;
}
