// Package sections is a BPF object with a program for each kind of section, for tests of `rbtool run`.
package sections

//go:generate go tool bpf2go -target bpfel -go-package sections -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" bpf sections.bpf.c

// Object returns the object file.
func Object() []byte { return _BpfBytes }
