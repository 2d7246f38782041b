#!/bin/sh
# users.sh - the system users and the group of a default installation, where missing. `rowpost set-permissions` does the
# same for the names in main.cf; this is for machines that have no main.cf yet: tests, packages.
set -eu

if [ "$(id -u)" -ne 0 ]; then
	echo "users.sh: must be root" >&2
	exit 1
fi
# front ends, scheduler, remote agents, console, embedded PostgreSQL
for user in rowpost rowpostq rowposta rowpostc rowpostdb; do
	getent passwd $user >/dev/null ||
		useradd -r -U -M -d /nonexistent -s /usr/sbin/nologin $user
done
# set-gid commands: postdrop, postqueue
getent group rowpostdrop >/dev/null || groupadd -r rowpostdrop
