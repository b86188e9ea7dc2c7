// Package order has the store that sync/atomic lacks, and says which machines keep loads and stores
// in their order.
package order

// Total reports whether machines of an architecture (a GOARCH) let no load pass an earlier load and
// no store an earlier store. Elsewhere a plain load or store that relies on its place needs a
// barrier. See tools/memory-model/Documentation/explanation.txt in the kernel.
func Total(arch string) bool { return arch == "amd64" || arch == "s390x" }
