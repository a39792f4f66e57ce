# Side-by-side measurements of TURN relays; both need root on Linux and coturn, iproute2
# and nftables installed. COTURN=/path adds one more coturn. See test/bench/doc.go.

BENCH = go run ./bench -other '$(COTURN)' -out bench/results

.PHONY: bench bench-full
bench: ## measure the relay beside coturn and pion (12 minutes)
	cd test && $(BENCH) -rounds 3 -window 700ms -name quick

bench-full: ## the same in five longer rounds, for the record
	cd test && $(BENCH) -rounds 5 -window 1500ms
