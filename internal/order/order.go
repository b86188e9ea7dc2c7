// Package order has a release store, which sync/atomic lacks, and knows which machines keep loads
// and stores in program order.
package order

// Total reports whether machines of an architecture (a GOARCH) reorder neither loads with loads nor
// stores with stores. On other machines, plain loads and stores that rely on program order need a
// barrier. See tools/memory-model/Documentation/explanation.txt in the kernel.
func Total(arch string) bool { return arch == "amd64" || arch == "s390x" }
