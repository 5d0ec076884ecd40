# comfydd: see `make help`. User flags (CFLAGS, LDFLAGS) are added to ours. VARIANT: release, asan, tsan; linux-PROCESSOR is
# what scripts/release builds.
VERSION  := 0.1.0
VARIANT  ?= release
CC       ?= cc
BUILD    := build/$(VARIANT)
PREFIX   ?= /usr/local
PRODUCTS ?= build
PYTHON   ?= python3
PYTHON_INCLUDE ?= $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')

OUR_CPPFLAGS := -D_GNU_SOURCE -DCOMFYDD_VERSION='"$(VERSION)"' -DPy_LIMITED_API=0x03090000 -Isrc -Iinclude -isystem $(PYTHON_INCLUDE) \
                $(if $(THIRD_PARTY),-isystem $(THIRD_PARTY)/include)
OUR_CFLAGS   := -std=c11 -g -fPIC -fvisibility=hidden -fno-semantic-interposition -ftls-model=initial-exec \
                -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(WERROR),-Werror)
release_FLAGS := -O2
asan_FLAGS    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
tsan_FLAGS    := -O1 -fno-omit-frame-pointer -fsanitize=thread
fuzz_FLAGS    := -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
linux-x86_64_FLAGS  := -O2
linux-aarch64_FLAGS := -O2 -mno-outline-atomics # functions that choose instructions at run time come with a constructor
VARIANT_FLAGS := $($(VARIANT)_FLAGS)
LIB_LDFLAGS   := -shared -nostartfiles -Wl,-z,defs -Wl,-z,lazy -Wl,-z,relro -Wl,--version-script=src/versions.map -Wl,--as-needed
# A folder with include/ and static libraries in lib/, instead of the system's.
THIRD_PARTY   ?=
JANSSON       := $(if $(THIRD_PARTY),$(THIRD_PARTY)/lib,$(BUILD))/libjansson.a
, := ,
# Of ours all is hidden; the system's static libraries are not.
LIB_LDFLAGS   += $(if $(THIRD_PARTY),,-Wl$(,)--exclude-libs$(,)ALL)
STATIC_LIBS   := $(if $(THIRD_PARTY),$(THIRD_PARTY)/lib/libmsgpackc.a,-l:libmsgpackc.a) $(JANSSON)

SOURCES  := $(sort $(wildcard src/*.c src/base/*.c src/host/*.c src/trace/*.c src/export/*.c src/cuda/*.c src/python/*.c src/comfy/*.c))
OBJECTS  := $(SOURCES:src/%.c=$(BUILD)/%.o)
# The library is optimised as a whole, from objects of its own, where gcc can: calls within it are most of what it does while
# ComfyUI waits. In one part, since exported names with versions are declared in several files.
LTO         := $(if $(filter release,$(VARIANT)),$(shell ($(CC) -v 2>&1 | grep -q '^gcc version' && \
                 echo 'int x;' | $(CC) -flto -shared -x c -o /dev/null -) >/dev/null 2>&1 && echo -flto -flto-partition=one))
LIB_OBJECTS := $(if $(LTO),$(SOURCES:src/%.c=$(BUILD)/lto/%.o),$(OBJECTS))
# What unit tests link, as far as they need it: everything but the table of contents and the interposed functions of libc.
TESTABLE := $(filter-out $(addprefix $(BUILD)/,preload.o hooks_libc.o cuda/hooks_dlsym.o cuda/hooks_dlclose.o),$(OBJECTS))
ARCHIVE  := $(BUILD)/libcomfydd.a
# What belongs to the program comfydd alone, never to the library; and what it needs. libpq is loaded when it is used.
CLI         := $(filter-out src/cli/main.c,$(sort $(wildcard src/cli/*.c)))
CLI_ARCHIVE := $(BUILD)/libcomfydd-cli.a
CLI_LIBS    := $(if $(THIRD_PARTY),$(THIRD_PARTY)/lib/libsqlite3.a,-l:libsqlite3.a) -lm -ldl
# A group, because libjansson.a is used by our archives and needs names of theirs.
PROGRAM_LIBS := -Wl,--start-group $(CLI_ARCHIVE) $(ARCHIVE) $(STATIC_LIBS) -Wl,--end-group $(CLI_LIBS) -pthread
PQ_INCLUDE  ?= /usr/include/postgresql
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_AID := $(patsubst tests/unit/%.c,$(BUILD)/unit/%.o,$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

VENV     := build/venv/ready

.PHONY: all check unit asan asan-launcher tsan integration fake-cuda check-torch check-vm gpu-check-probes fuzz fuzzers bench demo lint format release install clean help
.SECONDARY:

all: build/libcomfydd.so build/comfydd build/comfydd.1 ## build the library and the program comfydd

build/libcomfydd.so build/comfydd: build/%: build/release/%
	cp $< $@.new && mv $@.new $@

build/comfydd.1: build/comfydd
	$< manual >$@

# Distributions build libjansson.a for programs of their own libc. Its addresses of libc's stdin (which would make our code
# pages writable at load time), fgetc, malloc and free, each a search in every child process, are turned to names of our
# own, in trace/rules.c. glibc's checked functions would keep programs of musl from starting: weak references do not.
JANSSON_OURS := stdin fgetc malloc free
$(BUILD)/libjansson.a: Makefile
	@mkdir -p $(@D)
	objcopy $(foreach name,$(JANSSON_OURS),--redefine-sym $(name)=comfydd_json_$(name)) --wildcard --weaken-symbol='__*_chk' $$($(CC) -print-file-name=libjansson.a) $@

$(BUILD)/libcomfydd.so: $(LIB_OBJECTS) $(JANSSON) src/versions.map $(BUILD)/exports.map
	$(CC) $(VARIANT_FLAGS) $(LTO) $(LIB_LDFLAGS) $(LDFLAGS) -o $@ $(LIB_OBJECTS) $(STATIC_LIBS) -pthread

$(BUILD)/exports.map: src/exports.map.in src/cuda/cuda_api.def
	$(CC) -E -P -x c -Isrc -o $@ $<

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/lto/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(LTO) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%.o: tests/unit/%.c
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) -Itests/unit $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(ARCHIVE): $(TESTABLE)
	rm -f $@ && $(AR) rcs $@ $^

$(CLI_ARCHIVE): $(CLI:src/%.c=$(BUILD)/%.o)
	rm -f $@ && $(AR) rcs $@ $^

$(CLI:src/%.c=$(BUILD)/%.o): OUR_CPPFLAGS += -isystem $(PQ_INCLUDE)

$(BUILD)/comfydd: $(BUILD)/cli/main.o $(CLI_ARCHIVE) $(ARCHIVE) $(JANSSON)
	$(CC) $(VARIANT_FLAGS) -pie $(LDFLAGS) -o $@ $< $(PROGRAM_LIBS)

$(BUILD)/unit/test_%: $(BUILD)/unit/test_%.o $(UNIT_AID) $(CLI_ARCHIVE) $(ARCHIVE) $(JANSSON)
	$(CC) $(VARIANT_FLAGS) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(PROGRAM_LIBS) -lcmocka

unit: $(UNIT) ## unit tests of this VARIANT
	scripts/run-unit $(UNIT)

asan: ## unit tests under AddressSanitizer and UBSan
	$(MAKE) VARIANT=asan unit

# Not those that measure memory or use valgrind. The program is linked with the sanitizer's library, and some preload others.
LAUNCHER_TESTS := $(filter-out %_endurance.py,$(wildcard tests/integration/test_launcher*.py tests/integration/test_jobs*.py)) \
                  tests/integration/test_recover_command.py tests/integration/test_doctor.py

asan-launcher: all $(VENV) ## tests of the program comfydd under AddressSanitizer and UBSan
	$(MAKE) VARIANT=asan build/asan/comfydd
	mkdir -p build/asan/products
	cp build/libcomfydd.so build/asan/comfydd build/asan/products
	COMFYDD_TEST_PRODUCTS=build/asan/products ASAN_OPTIONS=verify_asan_link_order=0 \
	    scripts/run-integration build/venv/bin/python $(LAUNCHER_TESTS)

tsan: ## unit tests under ThreadSanitizer
	$(MAKE) VARIANT=tsan unit

check: ## every test; the last line is the total
	scripts/check

integration: all $(VENV) ## pytest over tests/integration; PYTEST_ARGS selects
	scripts/run-integration build/venv/bin/python $(PYTEST_ARGS)

fake-cuda: # the fake GPU that integration tests run on, in build/fakes/cuda
	$(MAKE) -f tests/fakes/cuda/Makefile PYTHON=$(PYTHON) CC=$(CC)

# The Python that runs the tests, and clang-format in the version that the tree is formatted with.
$(VENV): tests/requirements.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check -r $<
	touch $@

$(BUILD)/fuzz/%: tests/fuzz/%.c $(CLI_ARCHIVE) $(ARCHIVE) $(JANSSON)
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ \
	    $< $(PROGRAM_LIBS)

# Programs of the tests, among them the benchmarks: build/VARIANT/tests/FOLDER/NAME.
$(BUILD)/tests/%: tests/%.c $(CLI_ARCHIVE) $(ARCHIVE) $(JANSSON)
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(PROGRAM_LIBS)

fuzzers: $(FUZZERS) # with VARIANT=fuzz and a CC that has libFuzzer

fuzz: ## run every fuzzer for FUZZ_SECONDS (default 20)
	scripts/fuzz

bench: all $(BUILD)/tests/bench/bench_encode $(BUILD)/tests/bench/bench_flight $(BUILD)/tests/bench/bench_ledger $(VENV) ## the figures of docs/bench.md, by instruction counts; BENCH_ARGS=--write keeps them
	build/venv/bin/python tests/bench/bench.py $(BENCH_ARGS)

demo: ## a ComfyUI, an agent, seven workflows, and the traces that arrived
	scripts/demo

lint: all $(VENV) ## formatting, layers, getenv, exported names
	scripts/lint

format: $(VENV) ## apply clang-format
	git ls-files '*.c' '*.h' | xargs build/venv/bin/clang-format -i

release: all ## tarballs for x86_64 and aarch64, glibc 2.17 and newer, in build/dist
	scripts/release

install: all ## into PREFIX (default /usr/local)
	install -D -m 755 $(PRODUCTS)/libcomfydd.so $(DESTDIR)$(PREFIX)/lib/libcomfydd.so.new
	mv $(DESTDIR)$(PREFIX)/lib/libcomfydd.so.new $(DESTDIR)$(PREFIX)/lib/libcomfydd.so
	install -D -m 755 $(PRODUCTS)/comfydd $(DESTDIR)$(PREFIX)/bin/comfydd
	install -D -m 644 build/comfydd.1 $(DESTDIR)$(PREFIX)/share/man/man1/comfydd.1
	install -D -m 755 scripts/comfyui-with-comfydd $(DESTDIR)$(PREFIX)/bin/comfyui-with-comfydd
	install -D -m 755 scripts/entrypoint.sh $(DESTDIR)$(PREFIX)/bin/comfydd-entrypoint

include tests/check_image/rules.mk
include tests/check_torch/rules.mk
include tests/check_vm/rules.mk
include tests/gpu_check/rules.mk

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d $(BUILD)/*/*/*.d)
