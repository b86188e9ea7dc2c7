package objects

//go:generate go tool bpf2go -target bpfel -output-dir testdata -go-package testdata -no-global-types -no-strip -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -fdebug-compilation-dir=. -I../../bpf/headers" owned testdata/owned.bpf.c
