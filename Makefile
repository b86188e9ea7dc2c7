GO      ?= go
PREFIX  ?= /usr/local
BUILD   := build
# The compiler is named with its version: generated objects are compared byte for byte.
export BPF2GO_CC    := clang-19
export BPF2GO_STRIP := llvm-strip-19

# Tests of different packages would count each other's maps and processes: those of one
# run at a time, while the next are compiled. make check vets.
ALONE      := -p 4 -vet=off -exec 'flock -o $(CURDIR)/$(BUILD)/tests.lock'
TEST_FLAGS ?=
FUZZ_RUNS  ?= 40000

# make vmtest runs all kernels of amd64 in the list.
listed = $(shell sed -n 's,^kernel \($1\)\( .*\)*$$,\1,p' vmtest/kernels/kernels.txt | paste -sd,)
VMTEST_KERNELS ?= $(call listed,[^ /]*)

SOAK_TIME    ?= 60s
SOAK_KILLS   ?= 1000
SOAK_SAMPLES ?= 1000000
SOAK_ROUNDS  ?= 10m

.PHONY: all help build install dist dist-check demo test test-host soak deploy-check vmtest vmtest-arm64 vmtest-self conformance race litmus fuzz check cross generate generate-check bench deps deps-go deps-tests deps-vmtest kernels-md clean
all: build

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

build: deps-go ## the static command ./rbtool; needs Go only
	CGO_ENABLED=0 $(GO) build -trimpath -o rbtool ./cmd/rbtool

install: build ## the command, man pages, completions and the exporter's unit file, to PREFIX
	DESTDIR=$(DESTDIR) tools/install.sh ./rbtool $(PREFIX)

dist: deps-go ## tar.gz, deb, rpm, SBOM and container image for amd64 and arm64, in build/dist; the same commit gives the same bytes
	tools/dist.sh $(BUILD)/dist

dist-check: dist ## these packages: built again elsewhere and offline, lintian, installed and removed in a fresh Debian 12, by apt and by rpm; root
	@tools/deps.sh dist
	tools/dist-check.sh $(BUILD)/dist

demo: build ## what rbtool does, in half a minute; needs Go and root
	@if [ "$$(id -u)" -eq 0 ]; then exec ./rbtool demo; else exec sudo ./rbtool demo; fi

test: test-host vmtest ## everything, on the running kernel and in machines with six others; needs root; -j 2 saves time

test-host: deps race fuzz $(BUILD)/bench-peer ## everything, on the running kernel; needs root
	CGO_ENABLED=0 $(GO) test $(ALONE) $(TEST_FLAGS) ./...

soak: deps ## the same under load for longer: SOAK_TIME a storm, SOAK_KILLS killed processes, SOAK_SAMPLES a goroutine, SOAK_ROUNDS of hostile neighbours; root
	RBTOOL_ARENA_STORM=$(SOAK_TIME) RBTOOL_ARENA_KILLS=$(SOAK_KILLS) $(GO) test -p 1 -count=1 -timeout 2h -v \
		-run 'TestTableStorm|TestKilledInsideAnOperation|TestVethUpdatesWhileReading' ./arena/container ./bpf/arenaxdp
	RBTOOL_STRESS_SAMPLES=$(SOAK_SAMPLES) $(GO) test -count=1 -timeout 2h -v -run TestManyGoroutines ./userprod
	RBTOOL_SOAK=$(SOAK_ROUNDS) CGO_ENABLED=0 $(GO) test -count=1 -timeout 0 -v -run TestSoakOf ./internal/cli

deploy-check: deps-go ## the dashboard's queries and the alerts against a real Prometheus server, the units by systemd; root
	@tools/deps.sh deploy
	$(GO) test -count=1 -tags prometheus -run 'RealPrometheus|Deployed|EveryPanel' -v ./internal/cli
	tools/units.sh deploy/systemd

race: deps $(BUILD)/bench-peer # processes that the tests start do not linger a second at their end
	GORACE=atexit_sleep_ms=0 CGO_ENABLED=1 $(GO) test $(ALONE) -race -short $(TEST_FLAGS) ./...

vmtest: deps-vmtest $(BUILD)/bench-peer ## every test on the kernels of amd64, in virtual machines (vmtest/README.md)
	CGO_ENABLED=0 $(GO) run ./vmtest -kernels $(VMTEST_KERNELS) -timeout 15m -json $(BUILD)/kernels.json -markdown $(BUILD)/kernels.md $(VMTEST_FLAGS) ./...

vmtest-arm64: ## the same on all kernels of arm64; half an hour
	$(MAKE) --no-print-directory vmtest VMTEST_KERNELS=$(call listed,[^ ]*/arm64)

kernels-md: ## the page of documentation, from a run on the kernels of both architectures
	$(MAKE) --no-print-directory vmtest VMTEST_KERNELS=$(call listed,[^ ]*)
	cp $(BUILD)/kernels.md docs/kernels.md

vmtest-self: deps-vmtest ## vmtest's own tests that boot machines
	$(GO) test -tags vm -count=1 -timeout 30m ./vmtest

conformance: deps-vmtest ## what each kernel promises, tested in virtual machines: docs/conformance.md
	tools/conformance.sh $(BUILD) docs/conformance.md

litmus: ## the litmus tests of docs/litmus, by herd7, in half a minute; fetches herd7 and the kernel's memory model once, 200 MB
	tools/litmus.sh $(BUILD)/litmus

fuzz: deps-go ## each fuzz test, FUZZ_RUNS inputs, or what 4 s allow
	tools/fuzz.sh $(FUZZ_RUNS)

check: deps generate-check cross ## formatting, vet, staticcheck, committed objects are those of the sources, other architectures
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags prometheus ./internal/cli
	cd tools && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff

# The tests of arm64 run in machines. What is special to other architectures is the same for all
# of them: one stands for riscv64, loong64 and ppc64le.
CROSS ?= arm64 riscv64

cross: deps-go ## vet for CROSS; 32-bit and big-endian processors are refused, in one line (docs/architectures.md)
	for a in $(CROSS); do CGO_ENABLED=0 GOARCH=$$a $(GO) vet ./... || exit 1; done
	@for a in s390x 386; do \
		GOARCH=$$a $(GO) build -o /dev/null ./cmd/rbtool 2>&1 | tail -n 1 | grep 'needs64bitlittleendian: build constraints exclude' || \
		{ echo "a build for $$a must end with the refusal of internal/needs64bitlittleendian"; exit 1; }; done

# The objects in the tree, by name and content.
OBJECTS = git ls-files -z '*_bpfel.o' '*_bpfel.go' | xargs -0 sha256sum

generate-check: deps
	@before=$$($(OBJECTS)); $(MAKE) --no-print-directory generate; after=$$($(OBJECTS)); \
	[ "$$before" = "$$after" ] || { echo "make generate changes what is committed:"; git status --short; exit 1; }

generate: deps ## compile the C programs and write their Go bindings
	$(GO) generate ./...

bench: deps $(BUILD)/bench-peer ## beside libbpf and cilium/ebpf, as ratios; needs root and a quiet machine
	$(GO) build -o $(BUILD)/bench ./bench
	$(BUILD)/bench -peer $(BUILD)/bench-peer $(BENCH_FLAGS)

$(BUILD)/bench-peer: $(wildcard bench/peer/*.[ch]) | deps-tests
	@mkdir -p $(BUILD)
	gcc -O2 -Wall -Werror -o $@ $(filter %.c,$^) -l:libbpf.a -lelf -lz

deps: deps-go ## install with apt what the targets above need
	@tools/deps.sh generate tests

deps-tests: deps-go
	@tools/deps.sh tests

deps-vmtest: deps-go
	@tools/deps.sh tests vmtest

deps-go:
	@command -v $(GO) >/dev/null || { echo "needs Go 1.26 or newer"; exit 1; }

clean:
	rm -rf rbtool $(BUILD)
