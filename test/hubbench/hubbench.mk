# make bench-hub: the hub beside servers on ws and socket.io, in about five minutes. Needs Node and its npm.
.PHONY: bench-hub bench-hub-full

HUBBENCH := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
HUBBIN   := $(HUBBENCH)/../.cache/hubbench

bench-hub: hubbench-build ## the hub beside ws and socket.io: messages per CPU-second and memory; results in test/hubbench/results
	$(HUBBIN)/hubbench -rtcd $(HUBBIN)/rtcd -peers $(HUBBENCH)/peers -out $(HUBBENCH)/results

bench-hub-full: hubbench-build # the same with five longer rounds, memory in each
	$(HUBBIN)/hubbench -rtcd $(HUBBIN)/rtcd -peers $(HUBBENCH)/peers -out $(HUBBENCH)/results \
	  -full -rounds 5 -sample 5s -memory-rounds 5

.PHONY: hubbench-build
hubbench-build:
	mkdir -p $(HUBBIN)
	cd $(HUBBENCH)/../.. && $(GO) build -o $(HUBBIN)/rtcd ./cmd/rtcd
	cd $(HUBBENCH) && $(GO) build -o $(HUBBIN)/hubbench .
	cd $(HUBBENCH)/peers && npm ci --silent --no-audit --no-fund
