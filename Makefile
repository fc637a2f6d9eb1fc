# SPDX-License-Identifier: MIT
#
# The short names of what is done here. Each first installs the packages that it needs and that are
# missing; docs/HACKING.md says more.
#
#   make          build the library, the program and the examples into build/
#   make demo     build, then show the library at work
#   make test     build, then run every test; the last line says how many passed and failed
#   make test-asan  the same with the address and undefined-behaviour sanitizers, in build-asan/
#   make test-tsan  the same with the thread sanitizer, in build-tsan/
#   make fuzz     have libFuzzer look at all that strangers may send; SECONDS=60 for each target,
#                 TARGET="value frame" these alone
#   make kills    kill processes under load at random; KILLS=500 times, with SEED=7
#   make bench    measure; ONLY="yield-2 spawn" measures these alone
#   make sim      simulate worlds of processes with all that may befall them, as many clusters, and as
#                 many whose scheduler comes back; SEEDS=1000 is how many of each
#   make mutants  plant faults into a copy of the library, and see the simulator catch each
#   make static   the program asyncoro without shared libraries: build/src/asyncoro-static
#   make tidy     check the rules of docs/STYLE.md that a script can check
#   make format   let clang-format lay out every C file, comments included
#   make install  install to PREFIX (/usr/local), under DESTDIR if it is set
#   make clean    remove what was built

BUILD ?= build
BUILD_ASAN ?= $(BUILD)-asan
BUILD_TSAN ?= $(BUILD)-tsan
BUILD_FUZZ ?= $(BUILD)-fuzz
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
ONLY ?=
SEEDS ?= 1000
SECONDS ?= 60
TARGET ?=
KILLS ?= 500
SEED ?=

# $(call setup,DIRECTORY,OPTIONS): configures once; afterwards the build itself notices changes.
setup = test -f $(1)/build.ninja || meson setup $(2) $(1)

all: packages-build
	@$(call setup,$(BUILD),$(if $(shell pkg-config --exists check 2>/dev/null && echo yes),,-Dtests=false))
	ninja -C $(BUILD) -j $(JOBS)

demo: all
	examples/demo.sh $(BUILD)

test: packages-build packages-test
	@$(call setup,$(BUILD),-Dtests=true)
	@test -d $(BUILD)/tests || meson configure $(BUILD) -Dtests=true
	ninja -C $(BUILD) -j $(JOBS)
	scripts/run-tests $(BUILD)

test-asan: packages-build packages-test
	@$(call setup,$(BUILD_ASAN),-Db_sanitize=address$(comma)undefined -Dtests=true)
	ninja -C $(BUILD_ASAN) -j $(JOBS)
	scripts/run-tests $(BUILD_ASAN)

# ThreadSanitizer makes everything some ten times slower. The one that comes with gcc 12 does not know
# all the places where a kernel that randomises much may put things.
test-tsan: packages-build packages-test
	@$(call setup,$(BUILD_TSAN),-Db_sanitize=thread -Dtests=true)
	ninja -C $(BUILD_TSAN) -j $(JOBS)
	CK_TIMEOUT_MULTIPLIER=4 $(shell setarch -R true 2>/dev/null && echo setarch -R) \
	    scripts/run-tests $(BUILD_TSAN) -- --timeout-multiplier 4

fuzz: packages-build packages-fuzz
	scripts/fuzz $(BUILD_FUZZ) $(SECONDS) $(TARGET)

kills: packages-build packages-test
	@$(call setup,$(BUILD),-Dtests=true)
	ninja -C $(BUILD) -j $(JOBS) tests/test-remote_killing tests/test-cluster_killing src/asyncoro
	KILLS=$(KILLS) $(if $(SEED),SEED=$(SEED)) $(BUILD)/tests/test-remote_killing
	KILLS=$(KILLS) $(if $(SEED),SEED=$(SEED)) $(BUILD)/tests/test-cluster_killing

bench: packages-bench all
	bench/run $(BUILD) $(ONLY)

sim: all
	$(BUILD)/sim/sim --story=talk --seeds=1-$(SEEDS) --jobs=$(JOBS)
	$(BUILD)/sim/sim --story=cluster --seeds=1-$(SEEDS) --jobs=$(JOBS)
	$(BUILD)/sim/sim --story=comeback --seeds=1-$(SEEDS) --jobs=$(JOBS)

mutants: packages-build
	sim/mutants --jobs $(JOBS)

static: packages-build
	@$(call setup,$(BUILD),$(if $(shell pkg-config --exists check 2>/dev/null && echo yes),,-Dtests=false))
	ninja -C $(BUILD) -j $(JOBS) src/asyncoro-static

tidy: packages-test all
	scripts/tidy --build $(BUILD)

format: packages-format
	git ls-files '*.c' '*.h' | xargs clang-format -i

install: all
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD_ASAN) $(BUILD_TSAN) $(BUILD_FUZZ)

packages-%:
	@scripts/install-packages $*

comma := ,

.PHONY: all demo test test-asan test-tsan fuzz kills bench mutants sim static tidy format install clean
