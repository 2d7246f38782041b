#!/bin/sh
# run.sh - run the checks of the sources and add "checks PASSED FAILED" to the report.
# Usage: BUILD=dir run.sh COMMAND...
set -u
report=${BUILD:-build}/report
mkdir -p "$report"
passed=0
failed=0
for check in "$@"; do
	if "$check"; then
		passed=$((passed + 1))
	else
		echo "FAIL $check"
		failed=$((failed + 1))
	fi
done
echo "checks $passed $failed" >"$report/checks.count"
[ $failed -eq 0 ]
