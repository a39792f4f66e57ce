# make lab: rtcd under load and through faults, in the long form. Needs root on Linux. LOADS_FOR is how long the loads
# last that are to show that nothing grows, 5m by default.
.PHONY: lab

lab: tools ## loads and faults in full (25 minutes); the table goes to test/loads/results
	mkdir -p test/loads/results
	cd test && RTCD_TEST_LONG=1 RTCD_LOADS_FOR=$(LOADS_FOR) RTCD_LOADS_RESULTS=$(abspath test/loads/results) $(GO) test -count=1 -v -timeout 120m ./loads
