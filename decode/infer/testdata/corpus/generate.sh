#!/bin/sh
# Compiles the programs of the corpus, with DWARF; the tests make the stripped ones. Paths in the objects do
# not depend on where the tree lies.
set -eu
cd "$(dirname "$0")"
for c in *.bpf.c; do
	"${BPF2GO_CC:-clang}" -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -target bpfel \
		-fdebug-compilation-dir=. -fdebug-prefix-map=/= -I. -I../../../../bpf/headers \
		-c "$c" -o "${c%.bpf.c}_bpfel.o"
done
