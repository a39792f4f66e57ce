# What can be done here. `make test` is everything a change has to pass; it installs what it needs (Debian, as root).
.PHONY: run test tools vet unit cross net e2e lint vuln fuzz fuzz-nightly bench bench-routes

GO       ?= go
FUZZTIME ?= 30s
LINT     := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 $(if $(GOVULNDB),-db $(GOVULNDB))

# A clone that belongs to somebody else must build too.
export GOFLAGS += -buildvcs=false

run: ## serve with the defaults; the link that it prints opens in a browser
	$(GO) run ./cmd/rtcd serve

test: tools vet unit cross net ## all of it, in the order of what fails soonest

tools: # what the tests need beside Go
	test/setup.sh

vet:
	$(GO) vet ./...
	cd test && $(GO) vet ./...

unit: ## every package of the main module, with the race detector
	$(GO) test -race -timeout 15m ./...

cross: ## the other systems that rtcd is built for
	GOOS=linux GOARCH=arm64 $(GO) vet ./... && GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./... && GOOS=darwin GOARCH=arm64 $(GO) build ./...
	GOOS=windows GOARCH=amd64 $(GO) vet ./... && GOOS=windows GOARCH=amd64 $(GO) build ./...

net: ## the program in namespaces, before browsers and other projects' clients
	cd test && $(GO) test -count=1 -p 1 -parallel 16 -timeout 18m ./...

e2e: tools ## the same in its long form: larger files, more pairs of clients, longer loads
	cd test && RTCD_TEST_LONG=1 $(GO) test -count=1 -p 1 -parallel 16 -timeout 90m ./...

lint: ## golangci-lint with .golangci.yml
	$(LINT) run ./...
	cd test && $(LINT) run ./...

vuln: ## known holes in what is linked, by govulncheck; its database is on the internet, so it is no part of test
	@$(VULN) ./... && (cd test && $(VULN) ./...) || \
	  { echo "vuln: holes are listed above; or its database could not be fetched: that needs the internet (or GOVULNDB=file:///a/copy)" >&2; exit 1; }

fuzz: ## every fuzzer of the main module for FUZZTIME each
	@grep -rl --include='*_test.go' --exclude-dir=test '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
	  for name in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
	    echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$dir || exit 1; done; done

fuzz-nightly: ## the same, ten minutes each
	$(MAKE) fuzz FUZZTIME=10m

bench: bench-routes # and what the side-by-side measurements add

bench-routes: ## the relay's routes; 0 allocs/op on each is a promise
	$(GO) test -run '^$$' -bench . -benchmem ./turnsrv/...

include $(wildcard test/*/*.mk)
