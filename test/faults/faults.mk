# make faults: known faults are planted one at a time; the fuzzers have to find each in 30 s.
.PHONY: faults

FAULTS := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

faults: ## planted faults that the fuzzers must find, in at most ten minutes; the table is in test/faults/results
	cd $(FAULTS)/.. && $(GO) run ./faults -source .. -out faults/results/table.md
