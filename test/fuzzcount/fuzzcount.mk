# make fuzz-count: ten million executions over all fuzzers of the main module, in half an hour or more. FUZZ_TOTAL is how many.
.PHONY: fuzz-count

FUZZCOUNT  := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
FUZZ_TOTAL ?= 10000000

fuzz-count: ## FUZZ_TOTAL executions over all fuzzers; the table goes to test/fuzzcount/results
	cd $(FUZZCOUNT)/.. && $(GO) run ./fuzzcount -source .. -total $(FUZZ_TOTAL) -out fuzzcount/results/table.md
