# Side-by-side measurements of TURN relays; they need root on Linux and coturn, iproute2
# and nftables installed. COTURN=/path adds one more coturn. See test/bench/doc.go.

BENCH = go run ./bench -other '$(COTURN)' -out bench/results

.PHONY: bench bench-full
bench: ## measure the relay beside coturn and pion (12 minutes)
	cd test && $(BENCH) -rounds 3 -window 700ms -name quick

bench-full: ## the same in five longer rounds, for the record
	cd test && $(BENCH) -rounds 5 -window 1500ms

.PHONY: soak soak-force
soak: ## relay 20,000 packets/s for five minutes and account for every one of them
	cd test && go run ./bench/soak $(SOAK)

soak-force: ## the same for a minute with packets lost on purpose: the account must tell where
	cd test && go run ./bench/soak -for 1m -calls 5 -outside 10 -force $(SOAK)
