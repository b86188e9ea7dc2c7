#!/usr/bin/env bash
# fuzz.sh RUNS [SECONDS]: run every fuzz test of the module on RUNS inputs, but a slow one only on as
# many as SECONDS (10) allow, and on a tenth of RUNS at least.
#
# Numbers of inputs, not a time: at the end of a time Go's coordinator now and then takes
# its own deadline for a failure of the test (golang/go#75804). An input that
# never returns is not noticed by Go; timeout ends it, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=$1 limit=$((${2:-4} * 1000))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz

# fuzz DIRECTORY NAME RUNS: what go test -fuzz does, with a binary that is built once a package.
fuzz() {
	(cd "$1" && timeout 5m "$work/fuzz.test" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "${3}x" \
		-test.fuzzminimizetime 1000x -test.fuzzcachedir "$cache/$(go list .)" </dev/null)
}
now() { date +%s%3N; }

git grep -lE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | xargs -r -n 1 dirname | sort -u | while read -r dir; do
	go test -c -fuzz . -o "$work/fuzz.test" "./$dir" </dev/null
	for name in $(cd "$dir" && "$work/fuzz.test" -test.list '^Fuzz'); do
		begin=$(now)
		fuzz "$dir" "$name" $((runs / 10))
		took=$(($(now) - begin + 1))
		rest=$((runs / 10 * (limit - took) / took))
		[ "$rest" -lt $((runs - runs / 10)) ] || rest=$((runs - runs / 10))
		[ "$rest" -le 0 ] || fuzz "$dir" "$name" "$rest"
	done
done
