#!/usr/bin/env bash
# fuzz.sh RUNS: run every fuzz test of the module on RUNS inputs.
#
# A number, not a time: at the end of a time Go's coordinator now and then takes
# its own deadline for a failure of the test (golang/go#75804). An input that
# never returns is not noticed by Go; timeout ends it, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
git grep -hoE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' >/dev/null || exit 0
git grep -oE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file name; do
	name=${name#func }
	# A test binary's own -fuzz takes one test; the corpus is testdata/fuzz.
	timeout 5m go test -run '^$' -fuzz "^$name\$" -fuzztime "${1}x" -fuzzminimizetime 1000x "./$(dirname "$file")" </dev/null
done
