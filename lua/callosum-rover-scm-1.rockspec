-- The modules for Lua programs as a rock, from the top of the source tree:
--
--   luarocks --lua-version 5.4 make lua/callosum-rover-scm-1.rockspec
--
-- The Makefile knows the sources, and the folder the modules: none are listed
-- here. What callosum.discover loads when it needs it is in libexec/callosum,
-- beside them, and so is libcallosum-tls. Add --deps-mode none where luv is no rock but a package of the
-- system (Debian: lua-luv).

rockspec_format = "3.0"
package = "callosum-rover"
version = "scm-1"
source = {
  url = "git+file://.", -- this very tree: luarocks make fetches nothing
}
description = {
  summary = "Keeps TCP connections balanced over a fleet of Callosum servers",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4", "luv >= 1.44" }
external_dependencies = {
  LIBUV = { header = "uv.h", library = "uv" },
  UTHASH = { header = "uthash.h" },
  JANSSON = { header = "jansson.h", library = "jansson" },
  CARES = { header = "ares.h", library = "cares" },
  CURL = { library = "curl" },
  OPENSSL = { header = "openssl/ssl.h", library = "ssl" },
}
build = {
  type = "command",
  build_command = [[$(MAKE) \
    build/rock/callosum/relay.so build/rock/callosum/front.so \
    build/rock/callosum/discover.so build/rock/callosum/options.so \
    build/rock/callosum/metrics.so \
    build/rock/libexec/callosum/resolver.so \
    build/rock/libexec/callosum/http.so build/rock/libcallosum-tls.so \
    B=build/rock CC="$(CC)" CFLAGS="$(CFLAGS)" \
    DEP_CFLAGS="-I$(LUA_INCDIR) -I$(LIBUV_INCDIR) -I$(UTHASH_INCDIR) \
      -I$(JANSSON_INCDIR) -I$(CARES_INCDIR) -I$(OPENSSL_INCDIR)" \
    UV_LIBS="-L$(LIBUV_LIBDIR) -luv" \
    JSON_LIBS="-L$(JANSSON_LIBDIR) -ljansson" \
    CARES_LIBS="-L$(CARES_LIBDIR) -lcares" CURL_LIBS="-L$(CURL_LIBDIR) -lcurl" \
    TLS_LIBS="-L$(OPENSSL_LIBDIR) -lssl -lcrypto"]],
  install_command = [[ \
    cp -R build/rock/callosum build/rock/libexec "$(LIBDIR)" && \
    cp build/rock/libcallosum-tls.so "$(LIBDIR)" && \
    cp -R lua/callosum "$(LUADIR)"]],
}
