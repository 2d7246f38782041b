#!/bin/sh
# deps.sh - install the Debian packages of the given lists that are missing. With nothing missing it needs neither
# network nor root.
# Usage: deps.sh LIST...
set -eu

missing=
for package in $(sed 's/#.*//' "$@"); do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing packages; as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
undo() {
	if [ -e $cluster.before-rowpost ]; then mv $cluster.before-rowpost $cluster; fi
	if grep -qs rowpost-deps $policy; then rm -f $policy; fi
	rm -f "$log"
}
trap undo EXIT

quietly() {
	"$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
install() {
	quietly env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends install "$@"
}

# We want programs, not running services: let no package start one.
if [ ! -e $policy ]; then
	printf '#!/bin/sh\n# rowpost-deps\nexit 101\n' >$policy
	chmod +x $policy
fi
quietly apt-get update -q
# Nor does the host need a PostgreSQL cluster of its own: unless it had one before, Debian is told not to make it.
case " $missing " in
*" postgresql "*)
	if [ ! -e $cluster ]; then
		install postgresql-common
		cp -p $cluster $cluster.before-rowpost
		echo "create_main_cluster = false" >>$cluster
	fi ;;
esac
# shellcheck disable=SC2086
install $missing
