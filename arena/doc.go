// Package arena is for arenas (BPF_MAP_TYPE_ARENA, Linux 6.9): sparse memory that
// BPF programs and processes share at one address, so that data structures built
// on one side are walked on the other, with the same pointers.
package arena
