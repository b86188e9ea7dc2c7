//go:build amd64 || arm64 || loong64 || mips64le || ppc64le || riscv64

// Package needs64bitlittleendian exists only for 64-bit little-endian processors, so that for others
// (s390x, 386, arm) a build of this module fails at once, with its name: rbtool's BPF objects are
// little-endian, and its view of shared memory has 64-bit positions. docs/architectures.md has more.
package needs64bitlittleendian
