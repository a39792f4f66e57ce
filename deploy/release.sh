#!/bin/sh
# Builds a release into dist/: static binaries, Debian packages, bills of materials and
# checksums, for each of $ARCHES. The same sources give the same bytes.
#
#   VERSION     of the release (git describe)
#   ARCHES      to build for ("amd64 arm64")
#   OUT         where to (dist)
#   MAINTAINER  of the Debian package, NAME <ADDRESS>
set -eu
cd "$(dirname "$0")/.."

NFPM="go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4"
GOMOD="go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

VERSION=${VERSION:-$(git describe --tags --always --dirty)}
out=${OUT:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
# Everything is dated as the commit is.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
MAINTAINER=${MAINTAINER:-rtcd <rtcd@localhost>}
export SOURCE_DATE_EPOCH MAINTAINER VERSION CGO_ENABLED=0 GOFLAGS=-buildvcs=false

# Debian's versions begin with a digit: v1.2.3-4-gabc is 1.2.3+4+gabc, abc is 0~20260102+abc.
case $VERSION in
v[0-9]* | [0-9]*.*) DEB_VERSION=$(echo "${VERSION#v}" | tr '-' '+') ;;
*) DEB_VERSION="0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d)+$(echo "$VERSION" | tr '-' '+')" ;;
esac
export DEB_VERSION

BUILD=$(mktemp -d)
export BUILD
trap 'rm -rf "$BUILD"' EXIT

# The same for every architecture: pages, completions, changelog.
build() { # ARCH FILE
	GOOS=linux GOARCH=$1 go build -trimpath -ldflags "-s -w -buildid= -X main.version=$VERSION" -o "$2" ./cmd/rtcd
}
build "$(go env GOHOSTARCH)" "$BUILD/host"
"$BUILD/host" man "$BUILD/man"
gzip -9n "$BUILD"/man/*.1
"$BUILD/host" completion bash >"$BUILD/rtcd.bash"
"$BUILD/host" completion zsh >"$BUILD/_rtcd"
"$BUILD/host" completion fish >"$BUILD/rtcd.fish"
gzip -9n >"$BUILD/changelog.gz" <<EOF
rtcd-server ($DEB_VERSION) unstable; urgency=medium

  * Version $VERSION.

 -- $MAINTAINER  $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
EOF

made=
for ARCH in ${ARCHES:-amd64 arm64}; do
	export ARCH
	name=rtcd-$VERSION-linux-$ARCH
	build "$ARCH" "$BUILD/rtcd"
	install -m 755 "$BUILD/rtcd" "$out/$name"
	$GOMOD bin -json -noserial -std -version "$VERSION" -output "$BUILD/sbom" "$BUILD/rtcd"
	sed -e '/"timestamp":/d' -e "s,$BUILD/,,g" "$BUILD/sbom" >"$out/$name.cdx.json"
	deb=rtcd-server_${DEB_VERSION}_$ARCH.deb
	$NFPM package --config deploy/nfpm.yaml --packager deb --target "$out/$deb" >/dev/null
	made="$made $name $name.cdx.json $deb"
done
cd "$out"
# shellcheck disable=SC2086 # a list of names without spaces
sha256sum $made | tee SHA256SUMS
