# make pictures: the pictures of the applications, of the check page and of the landing page, made anew in docs.
.PHONY: pictures

APPS := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

pictures: tools ## the README's pictures of the applications, made anew
	cd $(APPS) && RTCD_TEST_PICTURES=$(APPS)/../../docs $(GO) test -count=1 -p 1 -run 'TestPictures|TestLandingTellsTheSelfTest' . ..
