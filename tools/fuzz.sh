#!/usr/bin/env bash
# fuzz.sh TIME: run every fuzz test of the module for TIME.
set -euo pipefail
cd "$(dirname "$0")/.."
git grep -hoE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' >/dev/null || exit 0
git grep -oE --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file name; do
	name=${name#func }
	# A test binary's own -fuzz takes one test; the corpus is testdata/fuzz.
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "./$(dirname "$file")" </dev/null
done
