// Package syscall holds the system calls on map descriptors that cilium/ebpf
// does not offer: shared mappings of a map's pages, waiting for a map's
// readiness in the Go runtime's poller, and loading programs with arena pointers.
package syscall
