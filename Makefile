# What each target needs beyond Go is installed or built by scripts/setup, once, into ~/.cache/slipway.
SHELL  := /bin/sh
CACHE  ?= $(HOME)/.cache/slipway
TOOLS  := $(CACHE)/bin
SETUP  := go run ./scripts/setup -cache "$(CACHE)"
PROTOS := .slipway/protodeps
# A module of its own. With the flags of its build.json Kubernetes is compiled once, for the programs and the tests.
DEVCLUSTER := cd scripts/devcluster && SLIPWAY_DEVCLUSTER_BIN="$(TOOLS)" CGO_ENABLED=0 GOFLAGS="-trimpath '-gcflags=all=-N -l -dwarf=false'"

.PHONY: help demo farm-local build tools test e2e lint cosigncheck gen bench chaos clean

help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, test and roll out examples/shop on this machine, twice; KEEP=1 leaves it running
	go run ./scripts/demo

farm-local: build ## a farm on this machine whose parts are processes, three coordinators and NATS servers: kill them
	$(SETUP) demo
	go build -o bin/farmlocal ./scripts/farmlocal
	bin/farmlocal

build: ## compile the four programs into bin/
	go build -o bin/slipway ./slipway
	go build -o bin/slipway-coordinator ./coordinator
	go build -o bin/slipway-worker ./worker
	go build -o bin/slipway-deployer ./deploy

tools: ## build the third-party programs that Slipway starts (BuildKit, a development cluster)
	$(SETUP) demo

test: ## unit, property and integration tests on real NATS, Redis, BuildKit and control planes, race detector on
	$(SETUP) test
	PATH="$(TOOLS):$$PATH" go test -race -timeout 25m ./...
	sum=$$(cksum <"$(TOOLS)/devcluster") && $(DEVCLUSTER) SLIPWAY_DEVCLUSTER_SUM="$$sum" go test -vet=off -timeout 15m -skip TestRealNode ./address ./clusterdir ./simulate ./e2e
	cd chaos && go test ./...
	$(CHAOS) -form seconds -jobs 3
	$(MAKE) -C examples/shop test

e2e: ## the heavier tests: real node, Jaeger, make demo itself
	$(SETUP) e2e
	PATH="$(TOOLS):$$PATH" go test -tags e2e -p 1 -count=1 -timeout 40m ./internal/e2e/...
	$(DEVCLUSTER) go test -vet=off -count=1 -timeout 15m -run TestRealNode ./e2e
	$(DEVCLUSTER) go test -vet=off -count=1 ./cluster ./network
	$(MAKE) cosigncheck
	$(MAKE) demo

# Not of scripts/devcluster: vet takes apart all of Kubernetes for it, more than six minutes with an empty cache.
lint: ## golangci-lint, go vet, gofmt, buf lint, and what a release would be made of
	$(SETUP) lint
	@unformatted=$$(git ls-files '*.go' | grep -v '^proto/gen/' | xargs gofmt -l); \
	  test -z "$$unformatted" || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet -tags e2e ./...
	"$(TOOLS)/golangci-lint" run
	go run ./scripts/protodeps $(PROTOS)
	"$(TOOLS)/buf" lint
	cd scripts/releasecheck && go test .
	cd bench && go vet ./... && go test -timeout 20m ./...
	cd chaos && go vet ./...

cosigncheck: ## cosign verifies what internal/cosign signs: with an empty cache it compiles for minutes
	cd scripts/cosigncheck && go vet . && go test -timeout 20m .

gen: ## write proto/gen from proto/ again
	$(SETUP) lint
	go run ./scripts/protodeps $(PROTOS)
	"$(TOOLS)/buf" generate

# Programs that make bench uses are Debian's: ninja-build, postgresql, redis-server.
bench: ## benchmarks against the references, ROW=P1 for one: docs/performance.md
	cd bench && go build -o ../.slipway/bench . && ../.slipway/bench -row "$(ROW)" -disk ../.slipway -results results

# R14 runs in go test, the others are processes. Results are kept in chaos/results.
CHAOS := cd chaos && go build -o ../.slipway/chaos-program . && ../.slipway/chaos-program -dir ../.slipway/chaos

chaos: ## fault experiments, EXP=R2 for one, FULL=1 for the counts of docs/reliability.md
ifneq ($(filter R11,$(or $(EXP),R11)),)
	$(SETUP) demo
endif
ifneq ($(EXP),R14)
	$(CHAOS) -exp "$(EXP)" -form $(if $(FULL),full -jobs 2,short) -results results
endif
ifneq ($(filter R14,$(or $(EXP),R14)),)
	go test -count=1 -v -timeout 3h -run TestSeeds ./coordinator/simulation -seeds $(if $(FULL),10000,200)
	go test -count=1 -v -timeout 3h -tags planted -run TestPlanted ./coordinator/simulation -seeds $(if $(FULL),1000,600)
endif

clean: ## remove what this tree built; tools in ~/.cache/slipway stay
	rm -rf bin .slipway
