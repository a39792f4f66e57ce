#!/bin/sh
# Installs with apt what the tests need beside Go, or says what is missing and fails.
set -eu

# A program, or a file, and the Debian package that has it.
needs='
gcc gcc
/usr/include/stdlib.h libc6-dev
ip iproute2
nft nftables
sysctl procps
certutil libnss3-tools
chromium chromium
firefox-esr firefox-esr
turnserver coturn
turnutils_uclient coturn
/usr/lib/python3/dist-packages/aioice python3-aioice
node nodejs
npm npm
zbarimg zbar-tools
debootstrap debootstrap
systemd-analyze systemd
systemd-nspawn systemd-container
lintian lintian
buildah buildah
unshare util-linux
jq jq
curl curl
openssl openssl
prometheus prometheus
promtool prometheus
iptables iptables
ufw ufw
firewall-offline-cmd firewalld
lua5.4 lua5.4
/usr/lib/python3/dist-packages/libconf.py python3-libconf
/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc fonts-wqy-zenhei
'

missing() {
	echo "$needs" | while read -r tool package; do
		[ -n "$tool" ] || continue
		case $tool in
		/*) [ -e "$tool" ] ;;
		*) command -v "$tool" >/dev/null ;;
		esac || echo "$package"
	done | sort -u
}

PATH=$PATH:/usr/sbin:/sbin
packages=$(missing | tr '\n' ' ')
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "These Debian packages are missing, and only root on Debian can install them: $packages" >&2
	exit 1
fi
# coturn and prometheus come with services that must not start here; this is how a Debian system says so.
if [ ! -e /usr/sbin/policy-rc.d ]; then
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod +x /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
lock='-o DPkg::Lock::Timeout=600'
apt-get $lock update -q
# shellcheck disable=SC2086 # a list of options and one of packages
apt-get $lock install -q -y --no-install-recommends $packages

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
	echo "These Debian packages could not be installed: $packages" >&2
	exit 1
fi
