# make natlab: clients behind every pair of NATs call each other, with everything that can come between. Needs root on Linux.
.PHONY: natlab

natlab: tools ## calls through NATs, firewalls, bad lines and moves (25 minutes); the table goes to test/lab/results
	cd test && RTCD_TEST_LONG=1 RTCD_NATLAB_RESULTS=$(abspath test/lab/results) $(GO) test -count=1 -v -timeout 60m ./natlab
