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
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends install"
apt-get update -qq

# Debian's postgresql makes and starts a cluster of its own when it is installed. Rowpost has a private one: unless the
# host had PostgreSQL before, do without.
conf=/etc/postgresql-common/createcluster.conf
case " $missing " in
*" postgresql "*)
	if [ ! -e $conf ]; then
		$apt postgresql-common >/dev/null
		cp -p $conf $conf.before-rowpost
		echo "create_main_cluster = false" >>$conf
	fi ;;
esac
# shellcheck disable=SC2086
$apt $missing >/dev/null
if [ -e $conf.before-rowpost ]; then mv $conf.before-rowpost $conf; fi
