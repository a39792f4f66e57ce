# make lab: rtcd under load and through faults, in the long form. Needs root on Linux. LOADS_FOR is how long the loads
# last that are to show that nothing grows, 5m by default; SOAK_FOR is how long soak-hour lasts. ROWS is which tests run
# (as for go test -run), and LAB_NAME the table's file, if it is to be one of its own.
.PHONY: lab soak-hour

LAB_RESULTS := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../lab/results)
SOAK_FOR    ?= 1h

lab: tools ## loads and faults in full (25 minutes); the table goes to test/lab/results
	cd test && RTCD_TEST_LONG=1 RTCD_LOADS_FOR=$(LOADS_FOR) RTCD_LOADS_RESULTS=$(LAB_RESULTS) \
	  RTCD_LOADS_NAME=$(LAB_NAME) RTCD_LOADS_BY='make lab$(if $(LOADS_FOR), LOADS_FOR=$(LOADS_FOR))$(if $(ROWS), ROWS="$(ROWS)")' \
	  $(GO) test -count=1 -v -timeout 120m -run '$(ROWS)' ./loads

soak-hour: ## 10,000 packets/s, 500 allocations that come and go, 500 WebSockets, for SOAK_FOR; the account goes to test/lab/results/soak.md
	cd test && RTCD_SOAK_FOR=$(SOAK_FOR) RTCD_LOADS_BY='make soak-hour SOAK_FOR=$(SOAK_FOR)' RTCD_LOADS_NAME=soak \
	  RTCD_LOADS_RESULTS=$(LAB_RESULTS) $(GO) test -count=1 -v -timeout 0 -run TestL2EverythingAtOnce ./loads
