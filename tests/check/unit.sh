#!/bin/sh
# unit.sh - run the given cmocka programs, show only what failed, and add "unit PASSED FAILED" to the report.
# Usage: BUILD=dir unit.sh PROGRAM...
set -u
report=$BUILD/report
mkdir -p "$report"
passed=0
failed=0
again=3
for t in "$@"; do
	out=$report/$(basename "$t").out
	if "$t" >"$out" 2>&1; then status=ok; else status=FAIL; fi
	# So few failures may be the load of the machine: they are run once more, and named.
	if [ $status = FAIL ] && [ $again -gt 0 ]; then
		again=$((again - 1))
		cat "$out"
		if "$t" >"$out" 2>&1; then status=ok; echo "UNSTEADY $t: failed first"; fi
	fi
	n=$(grep -c '^\[       OK \]' "$out")
	f=$(grep -c '^\[  FAILED  \] [a-zA-Z0-9_]*$' "$out")
	# cmocka lists each failed test twice: where it ran and in its summary. A program that died counts as one.
	f=$((f / 2))
	if [ $status = FAIL ] && [ "$f" -eq 0 ]; then f=1; fi
	if [ $status = ok ] && [ "$n" -eq 0 ]; then status=FAIL; f=1; echo "$t: ran no test"; fi
	[ $status = FAIL ] && cat "$out"
	echo "$status $t ($n passed, $f failed)"
	passed=$((passed + n))
	failed=$((failed + f))
done
echo "unit $passed $failed" >"$report/unit.count"
echo "unit: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
