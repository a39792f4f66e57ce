# make release: binaries, Debian packages, bills of materials and checksums in dist/.
.PHONY: release transcript

PACKAGES := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

release: ## dist/: static binaries and Debian packages for amd64 and arm64, SBOMs, SHA256SUMS
	deploy/release.sh

transcript: tools ## deploy/first-five-minutes.md: what a new user types and sees, made anew
	cd $(PACKAGES) && RTCD_TEST_TRANSCRIPT=$(PACKAGES)/../../deploy $(GO) test -count=1 -run TestFirstFiveMinutes -v .
