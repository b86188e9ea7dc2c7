package recordflow

//go:generate go tool bpf2go -target bpfel -output-dir testdata -go-package testdata -no-global-types -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../bpf/headers" flow testdata/flow.bpf.c
