#!/usr/bin/env bash
# run.sh - the five-minute start: a whole Rowpost below ./run on its embedded PostgreSQL, one real message through it, and
# the way of that message by SQL. Running it again uses what runs already. `run.sh stop` ends it all.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${BUILD:-build}/bin
port=2525
sink_port=2526

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'run: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || die "must be root: the processes of Rowpost run as users of their own"

# Those users must be able to reach their files: not below a closed home directory.
root=${ROWPOST_RUN:-$PWD/run}
mkdir -p "$root"
chmod 755 "$root"
if ! setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$root"; then
	rmdir --ignore-fail-on-non-empty "$root"
	root=/var/lib/rowpost-demo
	mkdir -p "$root"
fi
conf=$root/conf
mail=$root/mail

rowpost() { "$bin/rowpost" -c "$conf" "$@"; }
running() { rowpost status >/dev/null 2>&1; }

sink_pid() {
	local pid
	pid=$(cat "$root/sink.pid" 2>/dev/null) || return 1
	grep -qs demo_sink "/proc/$pid/cmdline" && echo "$pid"
}

stop() {
	local pid
	if running; then rowpost stop; fi
	if pid=$(sink_pid); then kill "$pid"; fi
	rm -f "$root/sink.pid"
	echo "stopped; everything is still in $root"
}

write_config() {
	mkdir -p "$conf" "$mail"
	[ -e "$conf/main.cf" ] || cat >"$conf/main.cf" <<-END
		# The demonstration of "make run": a relay for this machine, on 127.0.0.1:$port only.
		compatibility_level = 3.6
		myhostname = demo.rowpost.example
		mydestination =
		inet_interfaces = 127.0.0.1
		inet_protocols = ipv4
		mynetworks = 127.0.0.0/8
		# All mail goes to the demonstration's own SMTP server.
		relayhost = [127.0.0.1]:$sink_port
		smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
		alias_maps =
		alias_database =
		# Everything below one directory. queue_databases is not set: the embedded PostgreSQL is used.
		queue_directory = $root/queue
		data_directory = $root/data
		maillog_file = $root/maillog
		maillog_file_prefixes = $root
	END
	[ -e "$conf/master.cf" ] || cat >"$conf/master.cf" <<-END
		# service        type  private unpriv  chroot  wakeup  maxproc command
		127.0.0.1:$port   inet  n       -       n       -       -       smtpd
		qmgr             unix  n       -       n       300     1       qmgr
		smtp             unix  -       -       n       -       -       smtp
		relay            unix  -       -       n       -       -       smtp
		error            unix  -       -       n       -       -       error
		discard          unix  -       -       n       -       -       discard
		bounce           unix  -       -       n       -       0       bounce
	END
}

start_sink() {
	if sink_pid >/dev/null; then return; fi
	setsid python3 deploy/demo_sink.py 127.0.0.1 $sink_port "$mail" </dev/null >"$root/sink.log" 2>&1 &
	echo $! >"$root/sink.pid"
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$sink_port") 2>/dev/null && return
		kill -0 $! 2>/dev/null || die "the demonstration's SMTP server does not start: $(cat "$root/sink.log")"
		sleep 0.05
	done
	die "nothing listens on 127.0.0.1:$sink_port"
}

start() {
	rowpost set-permissions
	if running; then
		echo "    it runs already: using it"
	else
		rowpost start || die "Rowpost does not start; its log is $root/maillog"
	fi
	rowpost status
}

newest() { find "$mail" -name '*.eml' -newer "$1" | head -1; }

wait_for_mail() {
	for _ in $(seq 300); do
		[ -n "$(newest "$1")" ] && return
		sleep 0.1
	done
	tail -20 "$root/maillog" >&2
	die "the message did not arrive within 30 seconds"
}

show_way() {
	local id=$1
	rowpost sql -X -P pager=off -x -c "SELECT * FROM rowpost.history WHERE queue_id = '$id'"
}

wait_for_history() {
	for _ in $(seq 100); do
		[ -n "$(rowpost sql -qAtX -c "SELECT 1 FROM rowpost.history WHERE queue_id = '$1' LIMIT 1")" ] && return
		sleep 0.1
	done
}

if [ "${1:-}" = stop ]; then
	stop
	exit
fi
[ -x "$bin/rowpost" ] || die "not built: run make first"

say "1. Starting Rowpost on its embedded PostgreSQL, below $root"
write_config
start_sink
start

say "2. Sending a message to 127.0.0.1:$port"
mark=$root/mark
touch "$mark"
reply=$(python3 deploy/demo_send.py 127.0.0.1 $port you@demo.example friend@far.example)
echo "$reply"
id=$(printf '%s\n' "$reply" | sed -n 's/.*queued as \([0-9A-Za-z]*\).*/\1/p')
[ -n "$id" ] || die "no queue id in the reply"

say "3. It was relayed to the SMTP server on 127.0.0.1:$sink_port, which kept it as a file:"
wait_for_mail "$mark"
echo "    $(newest "$mark")"
sed 's/^/    | /' "$(newest "$mark")"

say "4. Its way, by SQL: SELECT * FROM rowpost.history WHERE queue_id = '$id'"
wait_for_history "$id"
show_way "$id"
echo "and in the log ($root/maillog):"
grep -F "$id" "$root/maillog" | sed 's/^/    /'

say "What to try next"
cat <<-END
	    send     deploy/demo_send.py 127.0.0.1 $port me@demo.example you@far.example "Subject"
	    look     $bin/rowpost -c $conf status
	             $bin/rowpost -c $conf sql -c 'SELECT * FROM rowpost.queue'
	             tail -f $root/maillog; ls $mail
	    fail     kill \$(cat $root/sink.pid)    then send, and look at the queue: the mail waits
	             make run                       starts that server again
	    change   edit $conf/main.cf, then: $bin/rowpost -c $conf reload
	    stop     make stop
END
