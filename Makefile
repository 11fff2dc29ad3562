
# Copyright (C) ngx_smtp_relay_module authors

# make              the module, against Debian's nginx-dev, in build/
# make test         everything there is to test
# make run          a server to try out; make stop ends it
# make install      puts the module and smtpq where Debian's nginx looks
#
# All targets and variables are described in docs/building.md.

SHELL :=	/bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS +=	--no-builtin-rules

ROOT :=		$(CURDIR)
MODULE :=	ngx_smtp_relay_module
LAYERS :=	protocol message auth queue core spool net server relay module

ifeq ($(origin CC),default)
CC :=		gcc
endif

NGX_DEV :=	/usr/share/nginx/src
JOBS ?=		$(shell nproc)


# The nginx to build for.  Without NGX_SRC it is the installed one of Debian,
# with it nginx itself is built from that tree, as it is with SANITIZE=1,
# where the tree is Debian's source package.

CC_OPT ?=	-g -O2 -fstack-protector-strong -Wformat \
		-Werror=format-security
LD_OPT ?=	-Wl,-z,relro -Wl,-z,now

NGX_FLAGS :=	--with-compat --with-debug --with-threads --with-pcre-jit \
		--with-http_ssl_module --with-stream --with-stream_ssl_module \
		--with-stream_realip_module --with-stream_ssl_preread_module

SUFFIX :=	$(if $(filter-out gcc cc,$(notdir $(CC))),-$(notdir $(CC)))

ifdef SANITIZE

# SANITIZE=thread: ThreadSanitizer; else AddressSanitizer and UBSan.  nginx
# copies zero bytes from nowhere, by design
SANFLAGS :=	$(if $(filter thread,$(SANITIZE)),-fsanitize=thread,\
		-fsanitize=address,undefined) -fno-omit-frame-pointer \
		-fno-sanitize=nonnull-attribute \
		$(if $(filter clang%,$(notdir $(CC))),-shared-libasan)

BUILD ?=	build-sanitize$(if $(filter thread,$(SANITIZE)),-thread)$(SUFFIX)$(if $(NGX_SRC),-$(notdir $(NGX_SRC)))
CC_OPT :=	-g -O1 $(SANFLAGS) -fno-sanitize-recover=undefined \
		-DNGX_DEBUG_PALLOC=1
# ASan's crypt_r() calls the one it found when nginx started: NULL, if only the
# module brings libcrypt
LD_OPT :=	$(SANFLAGS) -Wl,--no-as-needed -lcrypt
OWN_NGINX :=	yes

else

BUILD ?=	build$(SUFFIX)$(if $(NGX_SRC),-$(notdir $(NGX_SRC)))
OWN_NGINX :=	$(if $(NGX_SRC),yes)

endif

override BUILD := $(abspath $(BUILD))

ifdef SANITIZE
SRC :=		$(or $(NGX_SRC),$(BUILD)/source/nginx)
else
SRC :=		$(or $(NGX_SRC),$(NGX_DEV))
endif

override SRC :=	$(abspath $(SRC))

ifdef OWN_NGINX
NGINX :=	$(BUILD)/nginx
NGX_VERSION =	$(SRC)
else
NGINX :=	$(or $(TEST_NGINX_BINARY),/usr/sbin/nginx)
NGX_VERSION =	$(shell dpkg-query -W -f '$${Version}' nginx-dev 2>/dev/null)
endif

SO :=		$(BUILD)/$(MODULE).so


.PHONY:		all nginx deps test-deps unit unit-build test retest fuzz \
		fuzz-build fuzz-replay sweep bench soak run stop \
		install uninstall clean \
		compiler-check FORCE

all:		$(SO)

FORCE:


# What a configure depends on is kept in files that change only when their
# content does: a file added to a layer, or another flag, configures again;
# everything else is left to nginx's own Makefile, which knows all headers.

$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CC_OPT) $(LD_OPT) $(NGX_FLAGS) $(NGX_VERSION)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/files: FORCE
	@mkdir -p $(@D)
	@ls -d $(LAYERS:%=$(MODULE)/%/*.[ch]) 2>/dev/null > $@.new || true
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi


# nginx's configure writes into the tree it runs in, so it gets a tree of
# links, and the sources stay untouched.

define link_tree
	rm -rf $(1)
	mkdir -p $(1)
	for f in auto src conf contrib man docs html configure; do \
	    test ! -e $(SRC)/$$f || ln -s $(SRC)/$$f $(1)/$$f; \
	done
	test -e $(1)/configure || ln -s auto/configure $(1)/configure
endef

ifdef OWN_NGINX
conf_flags :=	set -- $(NGX_FLAGS) --prefix=$(BUILD)/prefix
else
conf_flags :=	. ./conf_flags; set -- "$${NGX_CONF_FLAGS[@]}" $(NGX_FLAGS)
endif

$(BUILD)/module-tree/objs/Makefile: $(BUILD)/flags $(BUILD)/files config \
		Makefile | $(if $(OWN_NGINX),$(NGINX))
	@test -f $(SRC)/src/core/nginx.h || { \
	    echo "no nginx sources in $(SRC): run \"make deps\"" >&2; exit 1; }
	@$(call link_tree,$(BUILD)/module-tree)
	@test ! -f $(SRC)/conf_flags || \
	    ln -s $(SRC)/conf_flags $(BUILD)/module-tree/
	@echo "configuring $(MODULE) for $(SRC)"
	@cd $(BUILD)/module-tree && { $(conf_flags); } \
	&& ./configure "$$@" --with-cc=$(CC) --with-cc-opt='$(CC_OPT)' \
	    --with-ld-opt='$(LD_OPT)' --add-dynamic-module=$(ROOT) \
	    > $(BUILD)/configure.log 2>&1 \
	|| { tail -n 5 $(BUILD)/configure.log >&2; rm -f objs/Makefile; exit 1; }
	@echo "compiling it: a minute or two"

$(SO): $(BUILD)/module-tree/objs/Makefile FORCE
	@$(MAKE) --no-print-directory $(if $(V),,-s) -j$(JOBS) \
	    -C $(BUILD)/module-tree -f objs/Makefile modules
	@cmp -s $(BUILD)/module-tree/objs/$(MODULE).so $@ \
	    || cp $(BUILD)/module-tree/objs/$(MODULE).so $@.new
	@test ! -e $@.new || mv $@.new $@


ifdef OWN_NGINX

nginx:		$(NGINX)

$(NGINX): $(BUILD)/flags $(SRC)/src/core/nginx.h
	@$(call link_tree,$(BUILD)/nginx-tree)
	@echo "building nginx of $(SRC)"
	@cd $(BUILD)/nginx-tree && { $(conf_flags); } \
	&& { ./configure "$$@" --with-cc=$(CC) --with-cc-opt='$(CC_OPT)' \
	    --with-ld-opt='$(LD_OPT)' \
	    && $(MAKE) -f objs/Makefile -j$(JOBS) binary; } \
	    > $(BUILD)/nginx.log 2>&1 \
	|| { tail -n 20 $(BUILD)/nginx.log >&2; exit 1; }
	@cp $(BUILD)/nginx-tree/objs/nginx $@

ifndef NGX_SRC

$(SRC)/src/core/nginx.h:
	@echo "fetching the sources of nginx from Debian"
	@mkdir -p $(BUILD)
	@t/tools/nginx-source $(BUILD)/source > $(BUILD)/source.log 2>&1 \
	    || { cat $(BUILD)/source.log >&2; exit 1; }
ifeq ($(SANITIZE),thread)
	@sed -i 's/^\(#define ngx_unlock(lock)\) .*/\1 __sync_lock_release(lock)/' \
	    $(SRC)/src/os/unix/ngx_atomic.h
endif

endif

endif


# C tests: pure code, and the spool, without nginx.

TREE :=		$(BUILD)/module-tree

UNIT_INCS :=	$(addprefix -I$(TREE)/src/,core event event/modules os/unix \
		stream http http/modules) -I$(TREE)/objs \
		$(LAYERS:%=-I$(ROOT)/$(MODULE)/%) -I$(ROOT)/t/unit
UNIT_WARN :=	-W -Wall -Wpointer-arith -Wno-unused-parameter -Werror
UNIT_SAN ?=	-fsanitize=address,undefined -fno-sanitize-recover=undefined \
		-fno-omit-frame-pointer
UNIT_CFLAGS :=	-g -O1 -D_GNU_SOURCE -DSHIM_ROOT=\"$(ROOT)\" $(UNIT_WARN) \
		$(UNIT_INCS) $(UNIT_SAN)

FUZZ_CC ?=	clang
FUZZ_TIME ?=	60
FUZZ_SAN ?=	-fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_CFLAGS :=	-g -O1 -D_GNU_SOURCE -DSHIM_FUZZ $(UNIT_WARN) $(UNIT_INCS) \
		$(FUZZ_SAN)

UNIT_TESTS :=	$(sort $(wildcard t/unit/test_*.c))
FUZZ_TESTS :=	$(sort $(wildcard t/fuzz/fuzz_*.c))

# the rules of the programs come from the comments in them
define c_tests
	@mkdir -p $(BUILD)/$(1)/obj
	@echo '$(2) $(3) $(4)' > $(BUILD)/$(1)/flags.new
	@cmp -s $(BUILD)/$(1)/flags.new $(BUILD)/$(1)/flags \
	    || mv $(BUILD)/$(1)/flags.new $(BUILD)/$(1)/flags
	@t/tools/unit-rules.pl '$(ROOT)' '$(BUILD)/$(1)' '$(2)' '$(3)' '$(4)' \
	    $(5) > $(BUILD)/$(1)/rules
	@$(MAKE) --no-print-directory $(if $(V),,-s) -j$(JOBS) \
	    -f $(BUILD)/$(1)/rules
endef

unit-build: $(TREE)/objs/Makefile
	$(call c_tests,unit,$(CC),$(UNIT_CFLAGS),-lcmocka,$(UNIT_TESTS))

UNIT_BIN =	$(UNIT_TESTS:t/unit/%.c=$(BUILD)/unit/%)

unit: unit-build
	prove $(PROVE_FLAGS) $(UNIT_BIN)

# every system call of the spool, where the tests take a sample
SWEEP_SEEDS ?=	20
SWEEP_TESTS :=	t/unit/test_store_power.c t/unit/test_store_sweep.c \
		t/unit/test_store_visit.c

sweep:
	@SMTP_SWEEP=$(SWEEP_SEEDS) $(MAKE) --no-print-directory \
	    UNIT_TESTS='$(SWEEP_TESTS)' unit

fuzz-build: $(TREE)/objs/Makefile
	$(call c_tests,fuzz,$(FUZZ_CC),$(FUZZ_CFLAGS),,$(FUZZ_TESTS))

# each finding is kept in build/fuzz, and belongs into t/fuzz/corpus
fuzz: fuzz-build
	@for t in $(FUZZ_TESTS:t/fuzz/%.c=%); do \
	    echo "fuzz: $$t"; \
	    mkdir -p $(BUILD)/fuzz/corpus/$$t t/fuzz/corpus/$$t; \
	    (cd $(BUILD)/fuzz && ./$$t -max_total_time=$(FUZZ_TIME) -timeout=10 \
	        -artifact_prefix=$$t- -print_final_stats=1 \
	        corpus/$$t $(ROOT)/t/fuzz/corpus/$$t > $$t.log 2>&1) \
	    || { tail -n 40 $(BUILD)/fuzz/$$t.log; exit 1; }; \
	    grep -h 'number_of_executed' $(BUILD)/fuzz/$$t.log; \
	done

fuzz-replay: fuzz-build
	@test -n '$(FUZZ_TESTS)' || { echo "no fuzz targets" >&2; exit 1; }
	@for t in $(FUZZ_TESTS:t/fuzz/%.c=%); do \
	    test -n "$$(ls -A t/fuzz/corpus/$$t 2>/dev/null)" || { \
	        echo "$$t: no seed corpus in t/fuzz/corpus/$$t" >&2; exit 1; }; \
	    (cd $(BUILD)/fuzz && ./$$t -runs=0 -artifact_prefix=$$t- \
	        $(ROOT)/t/fuzz/corpus/$$t > $$t.log 2>&1) \
	    || { tail -n 40 $(BUILD)/fuzz/$$t.log; exit 1; }; \
	    echo "fuzz-replay: $$t: $$(ls t/fuzz/corpus/$$t | wc -l) inputs"; \
	done

# Debian's packages.  apt-get is called only for what is missing.

DEPS :=		gcc make libc6-dev nginx nginx-dev libnginx-mod-stream \
		libssl-dev libhiredis-dev libc-ares-dev libcrypt-dev \
		redis-server openssl perl curl

TEST_DEPS :=	binutils clang libclang-rt-dev libcmocka-dev postfix swaks \
		libmime-tools-perl \
		python3 libio-socket-ssl-perl libjson-perl libnet-dns-perl \
		node:nodejs npm:npm $(if $(SANITIZE),dpkg-dev patch)

deps:
	@t/tools/apt-install $(DEPS)

# without nodemailer its test is skipped, and says so
test-deps: $(ROOT)/build/npm/installed
	@t/tools/apt-install $(TEST_DEPS)

$(ROOT)/build/npm/installed: t/npm/package.json
	@t/tools/apt-install $(TEST_DEPS)
	@mkdir -p $(@D)
	@cp $< $(@D)
	@if npm install --prefix $(@D) --no-audit --no-fund --loglevel=error; \
	then touch $@; else echo "nodemailer could not be installed" >&2; fi


# Everything: the C programs and the Perl tests in one run.

TESTS ?=	$(sort $(wildcard t/*.t))
PROVE_FLAGS ?=	-j2

TEST_ENV :=	TEST_NGINX_BINARY=$(NGINX) TEST_SMTP_MODULE=$(SO) \
		TEST_BUILD=$(BUILD) TEST_NGX_SRC=$(SRC) \
		NODE_PATH=$(ROOT)/build/npm/node_modules \
		$(if $(SANITIZE),TEST_SANITIZE=1)

STATE :=	$(BUILD)/prove-state

# the C programs have sanitizers in any case
test: deps test-deps
	@rm -f $(STATE) .prove
	@$(MAKE) --no-print-directory all $(if $(SANITIZE),,unit-build)
	@$(TEST_ENV) prove $(PROVE_FLAGS) --state=save \
	    $(if $(SANITIZE),,$(UNIT_BIN)) $(TESTS); \
	    rc=$$?; mv .prove $(STATE); exit $$rc

# What failed at the last "make test", one after the other with nothing beside.

retest:
	@test -f $(STATE) || { echo "make test did not come to tests"; exit 1; }
	@cp $(STATE) .prove
	@test -n "$$(prove --dry --state=failed)" || \
	    { rm .prove; echo "no test failed at the last make test"; exit 1; }
	@$(TEST_ENV) prove --state=failed; rc=$$?; rm -f .prove; exit $$rc

compiler-check:
	@$(MAKE) --no-print-directory CC=gcc BUILD=$(ROOT)/build-check/gcc all
	@$(MAKE) --no-print-directory CC=clang BUILD=$(ROOT)/build-check/clang \
	    all

# The module once more in loop/, which tells how long the iterations of the
# event loop are.

bench: deps test-deps
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/loop \
	    CC_OPT='$(CC_OPT) -DNGX_SMTP_LOOP_TIME=1' $(BUILD)/loop/$(MODULE).so
	BUILD=$(BUILD) t/bench/run --build $(BUILD) --nginx $(NGINX) \
	    --module $(SO) --loop-module $(BUILD)/loop/$(MODULE).so $(BENCH_FLAGS)


# Load, reloads and kill -9 for DURATION seconds, and the accounts afterwards.

soak: deps test-deps
	@$(MAKE) --no-print-directory all
	DURATION=$(or $(DURATION),600) $(TEST_ENV) prove -v t/bench/soak


# A server to try out; conf-examples/quickstart.sh knows the rest.

run: deps
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) NGINX=$(NGINX) MODULE=$(SO) \
	    sh conf-examples/quickstart.sh start

stop:
	@BUILD=$(BUILD) NGINX=$(NGINX) MODULE=$(SO) \
	    sh conf-examples/quickstart.sh stop


# A running nginx has the module mapped, so files are replaced, never written.

MODULES_DIR ?=	/usr/lib/nginx/modules
SBIN_DIR ?=	/usr/local/sbin

define put
	install -D -m $(1) $(2) '$(DESTDIR)$(3).new'
	mv -f '$(DESTDIR)$(3).new' '$(DESTDIR)$(3)'
endef

install: all
	$(call put,644,$(SO),$(MODULES_DIR)/$(MODULE).so)
	$(call put,755,$(MODULE)/tools/smtpq,$(SBIN_DIR)/smtpq)

uninstall:
	rm -f '$(DESTDIR)$(MODULES_DIR)/$(MODULE).so' \
	    '$(DESTDIR)$(SBIN_DIR)/smtpq'


clean:
	rm -rf $(BUILD)
