#!/bin/sh
# style.sh - form of the C files: clang-format, banned calls and comments, every header of src/ compiles alone.
set -u
bad=0
sources=$(find src tests -name '*.[ch]' | sort)

for f in $sources; do
	clang-format --dry-run -Werror "$f" 2>/dev/null || { echo "$f: run clang-format -i"; bad=1; }
done
python3 tests/check/banned.py $sources || bad=1

flags=$(pkg-config --cflags libpq libssl libcares libpcre2-8 libevent_core lmdb libidn2 2>/dev/null)
for h in $(find src -name '*.h' | sort); do
	${CC:-cc} -std=gnu17 -fsyntax-only -Isrc -D_GNU_SOURCE $flags -x c "$h" ||
		{ echo "$h does not compile alone"; bad=1; }
done
[ $bad -eq 0 ] && echo "style ok"
exit $bad
