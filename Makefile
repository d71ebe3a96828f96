# callosum-rover. `make run` shows it at work, `make test` runs the specs.

CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
PORTS ?= 4040 4041 4042
DOOR ?= 6380
DURATION ?=
SEED ?=
SEEDS ?=
VERBOSE ?=
FIGURES ?=
PLOTS ?= $(B)/bench
SECONDS ?=
B ?= build

LUA_PC := lua5.4
PKG_CONFIG ?= pkg-config
PACKAGES := gcc libc6-dev pkg-config libuv1-dev liblua5.4-dev uthash-dev \
  libjansson-dev zlib1g-dev libc-ares-dev libcurl4-openssl-dev libssl-dev \
  lua-luv
TEST_PACKAGES := lua5.4 lua-busted luarocks g++ clang mandoc libfaketime \
  locales iproute2 util-linux curl netcat-openbsd strace python3 \
  haproxy nginx libnginx-mod-stream prometheus python3-prometheus-client \
  openssl dnsmasq-base unbound etcd-server
LINT_PACKAGES := lua-check clang libclang-rt-dev clang-tidy clang-format \
  cppcheck valgrind
REDIS_PACKAGES := redis-server redis-tools util-linux
INTEROP_PACKAGES := $(REDIS_PACKAGES) postgresql pgbouncer wrk dropbear-bin stunnel4 \
  openssh-client python3-aiosmtpd chromium chromium-driver knot bind9 systemd
INTEROP_PACKAGES += nftables varnish python3-grpcio lua-cjson lua-cqueues \
  lua-event lua-expat lua-lpeg lua-luaossl lua-rex-pcre2 lua-sec lua-socket \
  lua-sql-sqlite3 lua-zlib
BENCH_PACKAGES := nodejs socat stunnel4 gnuplot-nox libnginx-mod-stream linux-perf

# The header alone tells the version.
version = $(shell sed -n 's/^.define ROVER_VERSION_$(1) //p' src/callosum/rover.h)
MAJOR := $(call version,MAJOR)
VERSION := $(MAJOR).$(call version,MINOR).$(call version,PATCH)

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes
# Recursive, so that pkg-config is called only after `make deps`.
DEP_CFLAGS = $(shell $(PKG_CONFIG) --cflags libuv $(LUA_PC) jansson)
UV_LIBS = $(shell $(PKG_CONFIG) --libs libuv)
TLS_LIBS = $(shell $(PKG_CONFIG) --libs libssl libcrypto)
JSON_LIBS = $(shell $(PKG_CONFIG) --libs jansson)
CARES_LIBS = $(shell $(PKG_CONFIG) --libs libcares)
CURL_LIBS = $(shell $(PKG_CONFIG) --libs libcurl)
# In programs the static ones, if they are there: loading the others at each start
# takes 50 us each. `make STATIC=` takes none.
STATIC ?= yes
static = $(if $(STATIC),$(wildcard $(shell $(PKG_CONFIG) --variable=libdir $(1))/lib$(2).a))
JSON = $(or $(call static,jansson,jansson),$(JSON_LIBS))
ZLIB = $(or $(call static,zlib,z),$(shell $(PKG_CONFIG) --libs zlib))
LUA_LIBS = $(shell $(PKG_CONFIG) --libs $(LUA_PC)) -lm
# The command has Lua within it, as the lua5.4 program does, and libuv, and offers
# all of both to modules in C.
within = -Wl,--whole-archive $(1) -Wl,--no-whole-archive \
  -Wl,--export-dynamic-symbol='$(2)*'
LUA_A = $(call static,$(LUA_PC),$(patsubst -l%,%,$(filter -llua%,$(LUA_LIBS))))
LUA_WITHIN = $(if $(LUA_A),$(call within,$(LUA_A),lua) -lm -ldl,$(LUA_LIBS))
UV_A = $(or $(call static,libuv,uv),$(call static,libuv,uv_a))
UV_WITHIN = $(if $(UV_A),$(call within,$(UV_A),uv_) $(filter-out -luv,$(UV_LIBS)),$(UV_LIBS))
# 5.4, as in the names of Lua's folders.
LUA_V = $(shell $(PKG_CONFIG) --modversion $(LUA_PC) | cut -d. -f1,2)
C = -std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE $(WARN) -Isrc \
  $(DEP_CFLAGS) $(CPPFLAGS)
# The path of the build folder must not end up in the binaries.
COMPILE = $(CC) $(C) -fPIC -fvisibility=hidden -MMD -MP \
  -ffile-prefix-map=$(CURDIR)=. $(CFLAGS)
# Aborts at the first misuse of memory or undefined behaviour.
SANITIZE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
  -fno-sanitize-recover=all

objects = $(patsubst src/%.c,$(B)/obj/%.o,$(wildcard $(addsuffix /*.c,$(addprefix src/,$(1)))))
ENGINE := $(call objects,net rover relay front)
TLS := $(call objects,tls)
# Parts of modules that are loaded on demand, and the rest.
RESOLVER := $(addprefix $(B)/obj/discover/,resolver.o message.o)
CLIENT := $(addprefix $(B)/obj/discover/,client.o request.o)
DISCOVER := $(filter-out $(RESOLVER) $(CLIENT),$(call objects,discover))
LUA := $(filter-out $(B)/obj/lua/module%,$(call objects,lua))
MODULE := $(B)/obj/lua/module.o
HOST := $(call objects,host)
CLI := $(call objects,cli)
ADMIN := $(call objects,admin)
PAGE := $(B)/obj/admin/page.o
SIM := $(call objects,sim)
PROGRAMS := $(patsubst spec/%.c,$(B)/%,$(wildcard spec/programs/*.c))
BENCH := $(patsubst spec/%.c,$(B)/%,$(wildcard spec/bench/*.c))

.PHONY: all programs deps deps-redis deps-test deps-interop deps-lint \
  bench-deps run run-redis test asan hostile tsan valgrind fuzz chaos interop bench \
  balance soak lint analyze format docs clean install uninstall
.DELETE_ON_ERROR:

all: $(B)/callosum-rover \
  $(addprefix $(B)/libexec/callosum/,simulate resolver.so http.so) \
  $(addprefix $(B)/callosum/,rover.so relay.so front.so discover.so \
  options.so metrics.so) \
  $(foreach each,rover tls host,$(B)/libcallosum-$(each).a \
  $(B)/libcallosum-$(each).so)
	@:

# What every host runs at its start comes first, and what few hosts run later, as
# the kernel maps at least 64 KB of the file around each page that is touched.
RARE := $(foreach each,cli/ask cli/check cli/client cli/help cli/screen \
  cli/simulate cli/status cli/steer cli/text cli/top cli/view host/exempt \
  host/families host/inherit host/json host/metrics host/rows host/shown \
  host/status host/weak lua/bind_books lua/bind_client lua/bind_discover \
  lua/bind_front lua/bind_metrics lua/bind_options lua/bind_relay \
  lua/exposition lua/handover lua/kept lua/rejection lua/settings \
  lua/tls_client lua/tls_server lua/traceback net/cidr net/endpoint \
  net/listener net/pair net/place net/proxy net/shards rover/known \
  rover/steer,$(B)/obj/$(each).o)
EARLY := $(filter-out $(RARE),$(CLI) $(HOST) $(LUA) $(call objects,rover net))
LATE := $(RARE) $(call objects,relay front) $(DISCOVER) $(ADMIN) $(PAGE)
$(B)/callosum-rover: $(EARLY) $(LATE)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(EARLY) $(LUA_WITHIN) $(LATE) $(JSON) $(ZLIB) \
	  $(UV_WITHIN)

# Takes the C library's place for libuv, luv and Lua: hence -rdynamic. Its calls
# of these go through functions of its own, see src/sim/script.c, chunk.c, arena.c
# and modules.c.
SHARED := new free trim held realloc
$(B)/libexec/callosum/simulate: $(SIM) $(B)/libcallosum-host.a \
  $(B)/libcallosum-rover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -rdynamic \
	  -Wl,--wrap=open,--wrap=stat,--wrap=lua_load \
	  $(SHARED:%=-Wl,--wrap=host__arena_%) \
	  $(foreach each,resolver http tls,-Wl,--wrap=discover__modules_$(each)) -o $@ $^ \
	  $(UV_LIBS) $(LUA_LIBS) $(JSON) -ldl -lm

# A sanitizer's library calls these functions before it is ready.
$(B)/obj/sim/libc%.o: override CFLAGS := $(filter-out -fsanitize=%,$(CFLAGS))

# Has its own copy of the engine, whatever else the program has loaded. Lua's
# symbols come from the program.
$(B)/callosum/rover.so: $(MODULE) $(LUA) $(B)/obj/discover.a \
  $(B)/libcallosum-rover.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $^ $(UV_LIBS) \
	  $(JSON_LIBS)

# Everything is in rover.so, but Lua looks for a module by its name.
$(addprefix $(B)/callosum/,relay.so front.so discover.so): $(B)/callosum/%.so: \
  $(B)/obj/lua/module_%.o $(B)/callosum/rover.so
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $<

# What sources of servers load when they need it. Only these are linked with
# c-ares and libcurl.
$(B)/libexec/callosum/resolver.so: private LIBS = $(CARES_LIBS)
$(B)/libexec/callosum/resolver.so: $(RESOLVER) $(B)/obj/discover/records.o
$(B)/libexec/callosum/http.so: private LIBS = $(CURL_LIBS)
$(B)/libexec/callosum/http.so: $(CLIENT) $(addprefix $(B)/obj/discover/, \
    buffer.o text.o)
$(B)/libexec/callosum/resolver.so $(B)/libexec/callosum/http.so:
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(UV_LIBS) $(LIBS)

# The modules in Lua need only this one, without luv.
$(B)/callosum/options.so: $(addprefix $(B)/obj/lua/,module_options.o \
  bind_options.o check.o)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^

$(B)/callosum/metrics.so: $(addprefix $(B)/obj/lua/,module_metrics.o \
  bind_metrics.o bind_books.o metrics.o exposition.o text.o check.o)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^

$(B)/libcallosum-rover.a: $(ENGINE)
$(B)/libcallosum-tls.a: $(TLS)
$(B)/obj/discover.a: $(DISCOVER)
$(B)/libcallosum-host.a: $(HOST) $(LUA) $(DISCOVER)
$(B)/%.a:
	rm -f $@
	$(AR) rcs $@ $^

# Linkers look for the name without a version, programs for the one with the
# major version. The host's library finds the rover's beside it, since a
# program's -rpath does not apply to the libraries that its libraries need.
$(B)/libcallosum-rover.so: private LIBS = $(UV_LIBS)
$(B)/libcallosum-rover.so: $(ENGINE)
$(B)/libcallosum-tls.so: private LIBS = $(UV_LIBS) $(TLS_LIBS)
$(B)/libcallosum-tls.so: $(TLS)
$(B)/libcallosum-host.so: private LIBS = -Wl,-rpath,'$$ORIGIN' \
  $(UV_LIBS) $(LUA_LIBS) $(JSON_LIBS)
$(B)/libcallosum-host.so: $(HOST) $(LUA) $(DISCOVER) $(B)/libcallosum-rover.so
$(B)/libcallosum-%.so:
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(@F).$(MAJOR) \
	  -o $@.$(VERSION) $^ $(LIBS)
	ln -sf $(@F).$(VERSION) $@.$(MAJOR)
	ln -sf $(@F).$(VERSION) $@

# Programs that the specs run.
programs: $(PROGRAMS) $(addprefix $(B)/programs/,torture chaos virtual.so kernel)
$(B)/programs/%: spec/programs/%.c $(B)/libcallosum-host.a \
  $(B)/libcallosum-rover.a $(B)/libcallosum-tls.a
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter-out %.h,$^) $(UV_LIBS) \
	  $(LUA_LIBS) $(JSON) $(TLS_LIBS)

# In this one allocations of ours and of OpenSSL's can be made to fail.
$(B)/programs/tls_memory: private override LDFLAGS += \
  $(foreach each,malloc calloc realloc strdup,-Wl,--wrap=$(each))

# Preloaded, it has these programs run on a virtual kernel.
KERNEL := $(patsubst %,$(B)/obj/sim/%.o,address bytes clock conn kernel libc libc_file \
  libc_thread libc_time listener machine memory name option packet path pipe \
  poll route silence socket stream tcp work)
$(B)/programs/virtual.so: spec/programs/virtual/virtual.c $(KERNEL)
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -shared -o $@ $^ $(UV_LIBS) -ldl -lm

$(B)/programs/kernel: spec/programs/virtual/kernel.c $(KERNEL)
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -rdynamic -o $@ $^ $(UV_LIBS) -ldl -lm

# In this program any allocation of ours, libuv or Lua can be made to fail. The
# linker cannot wrap calls within a unit that -flto has merged, so it is linked
# with libraries that are built without.
WRAPPED := malloc calloc realloc free strdup strndup mmap mremap munmap \
  host__arena_realloc
no_lto := $(if $(findstring -flto,$(CFLAGS)),no-lto/)
$(B)/programs/torture: $(wildcard spec/programs/torture/*.[ch]) \
  $(B)/$(no_lto)libcallosum-host.a $(B)/$(no_lto)libcallosum-rover.a
	@mkdir -p $(@D)
	$(filter-out -MMD -MP -flto%,$(COMPILE)) $(LDFLAGS) $(WRAPPED:%=-Wl,--wrap=%) \
	  -o $@ $(filter-out %.h,$^) $(UV_LIBS) $(LUA_LIBS) $(JSON)

# Random fleets on the virtual kernel of src/sim. What its fronts take for an
# index is checked on the way.
CHECKED := $(addprefix front__slots_,get take put clear)
$(B)/programs/chaos: $(wildcard spec/programs/chaos/*.[ch]) $(KERNEL) \
  $(B)/$(no_lto)libcallosum-host.a $(B)/$(no_lto)libcallosum-rover.a
	@mkdir -p $(@D)
	$(filter-out -MMD -MP -flto%,$(COMPILE)) $(LDFLAGS) \
	  $(CHECKED:%=-Wl,--wrap=%) -rdynamic -o $@ $(filter-out %.h,$^) \
	  $(UV_LIBS) $(LUA_LIBS) $(JSON) -ldl -lm

$(B)/no-lto/%.a: $(wildcard src/*/*.[ch])
	@$(MAKE) --no-print-directory B=$(B)/no-lto $@ \
	  CFLAGS="$(filter-out -flto%,$(CFLAGS))"

$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

# The page of src/admin, as bytes.
$(PAGE): $(PAGE:.o=.c)
	$(COMPILE) -c -o $@ $<
$(PAGE:.o=.c): src/admin/page.html src/admin/embed
	@mkdir -p $(@D)
	src/admin/embed $< >$@

# Three servers in one process and the demo in another. Each ends with the other,
# however that ends.
run: deps
	@$(MAKE) --no-print-directory all
	@tied=$$(command -v setpriv >/dev/null && echo setpriv --pdeathsig TERM); \
	exec $$tied $(B)/callosum-rover serve $(PORTS) -- \
	  $$tied $(B)/callosum-rover run --watch \
	  $(if $(DURATION),--for $(DURATION)) examples/demo.lua $(PORTS)

# Three Redis servers with fronts, a relay at the port DOOR, and a load.
run-redis: deps-redis
	@test $(words $(PORTS)) = 3 || { \
	  echo 'make run-redis: PORTS="$(PORTS)" are not three' >&2; exit 2; }
	@$(MAKE) --no-print-directory all
	@exec $(B)/callosum-rover run $(if $(DURATION),--for $(DURATION)) \
	  examples/redis.lua $(PORTS) $(DOOR)

test: deps-test
	@$(MAKE) --no-print-directory all programs
	@BUILD=$(B) spec/run $(SPEC)

# The same specs, with our C under ASan, UBSan and LeakSanitizer. Without those
# that run none of it (only Lua, sources or texts), or that are about building
# and installing (completion, install, library, make, readme, rock), and run
# nothing that other specs do not run, too.
WITHOUT_C := c_library completion house install library make manual pool_heap \
  readme reference rock run server service simulate_figures simulate_plot \
  simulate_report simulate_servers simulate_timeline slots
WITH_C = $(filter-out $(WITHOUT_C:%=spec/%_spec.lua),$(wildcard spec/*_spec.lua))
asan: deps-test
	@$(MAKE) --no-print-directory all programs B=build/asan CFLAGS="$(SANITIZE)"
	@BUILD=build/asan TEST_TIMEOUT=60 \
	  BUSTED="env LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) busted" \
	  spec/run $(or $(SPEC),$(WITH_C))

# Hostile policies, with new random ones each time, for SECONDS (600), under the
# sanitizers.
hostile: deps-test
	@$(MAKE) --no-print-directory all programs B=build/asan CFLAGS="$(SANITIZE)"
	@end=$$(( $$(date +%s) + $(or $(SECONDS),600) )); \
	while :; do \
	  BUILD=build/asan TEST_TIMEOUT=60 \
	    BUSTED="env LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) busted" \
	    spec/run spec/adversary_spec.lua || exit 1; \
	  test "$$(date +%s)" -lt $$end || exit 0; \
	done

# What runs in several threads, under TSan, which does not work with the number
# of random address bits that some kernels use: hence setarch. The specs' own Lua
# is without TSan, and so is the module that it loads. A race ends the program
# that has it, so that no spec can miss it.
THREADED := hosts tls_threads workers relay relay_tls front front_drain \
  front_proxy front_tls nested
TSAN := c_hosts c_workers workers threads front_reload relay_reload \
  tls_reload upgrade
tsan: deps-test
	@$(MAKE) --no-print-directory build/callosum/options.so build/callosum/metrics.so B=build
	@$(MAKE) --no-print-directory $(THREADED:%=build/tsan/programs/%) \
	  $(addprefix build/tsan/,callosum-rover libcallosum-tls.so) \
	  B=build/tsan CFLAGS="-O1 -g -fsanitize=thread -Wno-tsan"
	@fixed="setarch $$(uname -m) -R"; $$fixed true 2>/dev/null || fixed=; \
	BUILD=build/tsan TEST_TIMEOUT=60 LUA_CPATH_5_4='build/?.so;;' \
	  TSAN_OPTIONS="suppressions=$(CURDIR)/spec/programs/tsan.supp halt_on_error=1" \
	  BUSTED="$$fixed busted" spec/run $(TSAN:%=spec/%_spec.lua)

# Specs under valgrind, and the hosts that they start. It detects what the
# sanitizers do not: uninitialized values, and misuse of our memory by libraries.
# Everything takes at least ten times as long, so only the specs that reach most
# of the code in the least time (as gcov tells) are run; SPEC= names others.
VALGRIND := reload c_rover relay socket rover outcome front
valgrind: deps-test deps-lint
	@$(MAKE) --no-print-directory all programs B=build/valgrind \
	  CFLAGS="-O1 -g -DNO_CHUNKS"
	@rm -rf build/valgrind/log && mkdir build/valgrind/log
	@BUILD=build/valgrind TEST_TIMEOUT=60 \
	  BUSTED="valgrind --quiet --leak-check=full --show-leak-kinds=definite \
	  --trace-children=yes --trace-children-skip=/bin/*,/usr/* \
	  --suppressions=$(CURDIR)/spec/support/valgrind.supp \
	  --log-file=$(CURDIR)/build/valgrind/log/%p \
	  lua5.4 $$(command -v busted) --ignore-lua" \
	  spec/run $(or $(SPEC),$(VALGRIND:%=spec/%_spec.lua)) || failed=1; \
	  ! grep -h . build/valgrind/log/* >&2 && test -z "$$failed"

# Each target for SECONDS (60), under the sanitizers. Begins with the inputs in
# spec/fuzz/corpus and those that earlier runs left in build/fuzz.
FUZZ := line attempt plain log proxy request tls list dns
FUZZED := $(addprefix src/,cli/output.c admin/request.c admin/door.c \
  discover/message.c)
fuzz: deps-lint
	@$(MAKE) --no-print-directory -s $(FUZZ:%=build/fuzz/fuzz-%) B=build/fuzz \
	  CC=clang CFLAGS="$(SANITIZE) -fsanitize=fuzzer-no-link"
	@spec/fuzz/run $(or $(SECONDS),60) $(FUZZ)

$(FUZZ:%=$(B)/fuzz-%): $(B)/fuzz-%: spec/fuzz/%.c $(wildcard spec/fuzz/*.[ch]) \
    src/cli/log.c $(FUZZED) \
    $(B)/libcallosum-host.a $(B)/libcallosum-rover.a $(B)/libcallosum-tls.a
	$(CC) $(C) $(CFLAGS) -fsanitize=fuzzer -o $@ $< spec/fuzz/judge.c \
	  spec/fuzz/value.c $(FUZZED) $(filter %.a,$^) -Wl,--as-needed $(UV_LIBS) \
	  $(LUA_LIBS) $(JSON) $(TLS_LIBS) $(CARES_LIBS)

# Random fleets in virtual time, with random faults: the seeds 1 to SEEDS (200).
# A failure shows its last events, and its seed; SEED=17 replays that one, and
# with VERBOSE=1 shows all events.
chaos: deps
	@$(MAKE) --no-print-directory all $(B)/programs/chaos
	@$(B)/programs/chaos spec/programs/chaos lua \
	  $(if $(SEED),$(SEED) 1,1 $(or $(SEEDS),200)) $(if $(VERBOSE),-v)

# Relays and fronts with real servers and their own clients: PostgreSQL, Redis,
# nginx and SSH; the page of a host in a browser; sources with Knot and BIND; all
# that callosum-neighbours(7) says.
# Nothing of these stays, however the run ends.
interop: deps-interop
	@$(MAKE) --no-print-directory all
	@dir=$$(mktemp -d) && chmod 711 "$$dir" && trap 'rm -rf "$$dir"' EXIT && \
	trap 'exit 1' HUP INT TERM && \
	TMPDIR="$$dir" BUILD=$(B) spec/run $(or $(SPEC),$(wildcard spec/interop/*.lua))

# All figures, or some: make bench FIGURES="handshakes start". The ones in
# spec/bench/README.md come from make bench PLOTS=spec/bench. BASE=FOLDER is the
# build folder of an earlier version, to compare with.
bench: bench-deps
	@$(MAKE) --no-print-directory all $(BENCH)
	@lua5.4 spec/bench/run.lua $(B) $(PLOTS) $(FIGURES)

$(B)/bench/%: spec/bench/%.c $(B)/libcallosum-rover.a
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter-out %.h,$^) $(UV_LIBS) \
	  $(LIBS)
$(B)/bench/bare_start $(B)/bench/bare_lua: private LIBS = $(LUA_LIBS)
$(B)/bench/tls_rover: $(B)/libcallosum-tls.a
$(B)/bench/tls_rover $(B)/bench/bare_tls: private LIBS = $(TLS_LIBS)

# The annotations and the API in callosum-policy(5), from src/lua/reference.
docs:
	@lua5.4 src/lua/reference/generate.lua

# All of it, or some: make balance BALANCE=fronts. SHORT=1 takes 20 s.
BALANCE := pacing fronts
balance: deps-test
	@$(MAKE) --no-print-directory all $(BENCH)
	@for each in $(BALANCE); do \
	  $(if $(SHORT),SHORT=1) lua5.4 spec/bench/balance_$$each.lua $(B) || failed=1; \
	done; test -z "$$failed"

# The load takes SECONDS (600); SOAK=load runs only that.
SOAK := reload load
soak: deps-test
	@$(MAKE) --no-print-directory all
	@for each in $(SOAK); do \
	  lua5.4 spec/bench/soak_$$each.lua $(B) $(or $(SECONDS),600) || failed=1; \
	done; test -z "$$failed"

# No warnings from luacheck, gcc and clang. With LINTED=build the specs can use
# what gcc builds.
LINTED ?= build/gcc
ALL_C = $(wildcard src/*/*.c spec/*/*.c spec/*/*/*.c examples/*.c)
lint: deps-lint
	luacheck --quiet lua src spec examples
	@$(MAKE) --no-print-directory all programs B=$(LINTED) CC=gcc CFLAGS="-O2 -g -Werror"
	@printf '%s\n' $(ALL_C) | xargs -P$$(nproc) -n8 clang $(C) -O2 -Werror -fsyntax-only

# The analyzers of gcc, clang and cppcheck, on src; with ALL=1 also on specs,
# benchmarks and examples, and clang goes further.
analyze: deps-lint
	@CFLAGS='$(C)' NODES=$(if $(ALL),225000,45000) spec/analyze $(if $(ALL),$(ALL_C),$(wildcard src/*/*.c))

# The installed files, as FROM:TO. Lua modules in subfolders come first, so that
# uninstall can remove these before the folder that they are in.
into = $(foreach file,$(2),$(file):$(1)/$(notdir $(file:.in=)))
SHARE = $(PREFIX)/share
LIBRARIES = $(foreach end,a so.$(VERSION) so.$(MAJOR) so,\
  $(addprefix $(B)/libcallosum-,rover.$(end) tls.$(end) host.$(end)))
MODULES = $(wildcard $(addprefix lua/callosum/,*/*/*.lua */*.lua *.lua))
INSTALLED = $(call into,$(PREFIX)/bin,$(B)/callosum-rover) \
  $(call into,$(PREFIX)/libexec/callosum,$(addprefix $(B)/libexec/callosum/,simulate resolver.so http.so)) \
  $(call into,$(LIBDIR),$(LIBRARIES)) \
  $(call into,$(LIBDIR)/pkgconfig,$(wildcard src/*/*.pc.in)) \
  $(call into,$(PREFIX)/include/callosum,$(wildcard src/callosum/*.h)) \
  $(call into,$(PREFIX)/lib/lua/$(LUA_V)/callosum,$(addprefix $(B)/callosum/,rover.so relay.so front.so discover.so options.so metrics.so)) \
  $(foreach file,$(MODULES),$(file):$(SHARE)/$(file:lua/%=lua/$(LUA_V)/%)) \
  $(call into,$(SHARE)/man/man1,src/cli/callosum-rover.1 src/sim/callosum-simulate.1) \
  $(call into,$(SHARE)/man/man5,$(wildcard src/host/*.5)) \
  $(call into,$(SHARE)/man/man7,$(wildcard src/cli/*.7)) \
  $(call into,$(PREFIX)/lib/systemd/system,$(wildcard src/cli/*.service.in src/cli/*.socket.in)) \
  src/cli/callosum-rover.bash:$(SHARE)/bash-completion/completions/callosum-rover

install: all
	$(check-paths)
	@set -e; for each in $(INSTALLED); do \
	  from=$${each%%:*} to="$(DESTDIR)$${each#*:}"; \
	  echo "install $$to"; \
	  case $$from in \
	    $(B)/callosum-rover | */simulate) install -D -m 755 $$from "$$to";; \
	    */libcallosum-*.so | */libcallosum-*.so.$(MAJOR)) cp -Pf $$from "$$to";; \
	    *.in) text=$$(sed -e 's|@PREFIX@|$(PREFIX)|; s|@LUA_PC@|$(LUA_PC)|' \
	      -e 's|@VERSION@|$(VERSION)|' \
	      -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' $$from); \
	      printf '%s\n' "$$text" | install -D -m 644 /dev/stdin "$$to";; \
	    *) install -D -m 644 $$from "$$to";; \
	  esac; \
	done
	$(ldconfig)

# Our own folders are removed with the last file in them.
uninstall:
	$(check-paths)
	@for each in $(INSTALLED); do \
	  to="$(DESTDIR)$${each#*:}"; \
	  rm -f "$$to"; \
	  case $$to in */include/callosum/* | */lua/*/callosum/* | */libexec/callosum/*) \
	    rmdir "$${to%/*}" 2>/dev/null || :;; \
	  esac; \
	done
	$(ldconfig)

check-paths = $(if $(filter-out /%,$(PREFIX) $(LIBDIR)),\
  $(error PREFIX and LIBDIR are absolute paths without blanks))
# Only root can update the loader's cache.
ldconfig = @test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || ldconfig

format: deps-lint
	clang-format -i src/*/*.[ch] spec/*/*.[ch] spec/*/*/*.[ch] examples/*.[ch]

clean:
	rm -rf build

# Debian starts a server when it is installed, unless this file forbids it.
INSTALL_ONLY = policy=/usr/sbin/policy-rc.d; test -e $$policy || { \
  trap "rm -f $$policy" EXIT; \
  printf "\#!/bin/sh\nexit 101\n" >$$policy; chmod 755 $$policy; };

# Installs missing packages on Debian, and only lists them elsewhere. DEPS=there
# skips this if they are installed by other means.
deps: WANTED = $(PACKAGES)
deps-redis: WANTED = $(PACKAGES) $(REDIS_PACKAGES)
deps-test: WANTED = $(PACKAGES) $(TEST_PACKAGES)
deps-interop: WANTED = $(PACKAGES) $(TEST_PACKAGES) $(INTEROP_PACKAGES)
deps-lint: WANTED = $(PACKAGES) $(LINT_PACKAGES)
bench-deps: WANTED = $(PACKAGES) $(TEST_PACKAGES) $(BENCH_PACKAGES)
deps deps-redis deps-test deps-interop deps-lint bench-deps:
	@test "$(DEPS)" != there || exit 0; \
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then \
	  echo "This is not Debian. Install what Debian calls" >&2; \
	  echo "  $(WANTED)" >&2; \
	  echo "and then add DEPS=there to the command." >&2; \
	  exit 1; \
	fi; \
	missing=; own=$$(dpkg --print-architecture); \
	for package in $(WANTED); do \
	  dpkg-query -W -f '$${Architecture} $${db:Status-Status}\n' $$package \
	    2>/dev/null | grep -qxE "(all|$$own) installed" || \
	    missing="$$missing $$package"; \
	done; \
	test -n "$$missing" || exit 0; \
	root=; test "$$(id -u)" = 0 || root=sudo; \
	echo "installing$$missing"; \
	$$root apt-get update -qq && \
	  $$root env DEBIAN_FRONTEND=noninteractive sh -c '$(INSTALL_ONLY) \
	    apt-get install -y -qq --no-install-recommends "$$@"' sh $$missing

-include $(shell find $(B)/obj $(B)/programs -name '*.d' 2>/dev/null)
