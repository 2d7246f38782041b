#!/bin/sh
# layers.sh - fail when a file in src/<room> includes a room that src/layers.txt does not list for it, or another
# room's private <room>_int.h.
set -eu
awk '
FNR == NR {
	if (/^#/ || NF == 0) next
	r = $1; sub(/:$/, "", r); known[r] = 1; ok[r, r] = 1
	for (i = 2; i <= NF; i++) {
		if (!($i in known)) { print "layers.txt: " r " lists " $i ", which is not below it"; bad = 1 }
		ok[r, $i] = 1
	}
	next
}
/^#include "/ {
	split(FILENAME, p, "/"); split($2, q, "[\"/]")
	if (!((p[2], q[2]) in ok)) { print FILENAME ":" FNR ": " p[2] " may not include " q[2]; bad = 1 }
	else if (q[3] ~ /_int\.h$/ && p[2] != q[2]) { print FILENAME ":" FNR ": " q[3] " is private to " q[2]; bad = 1 }
}
END { exit bad }
' src/layers.txt $(find src -name '*.[ch]')
echo "layers ok"
