// Package order has what sync/atomic lacks: a release store and a barrier for loads (litmus
// lock-release, load-fence). It knows which machines keep loads and stores in program order.
package order

// Total reports whether machines of an architecture (a GOARCH) reorder neither loads with loads nor
// stores with stores. On other machines, plain loads and stores that rely on program order need a
// barrier, as in litmus load-fence. See tools/memory-model/Documentation/explanation.txt in the kernel.
func Total(arch string) bool { return arch == "amd64" || arch == "s390x" }

// Proven reports whether docs/litmus shows for an architecture that what this package does suffices: for
// arm64, and for machines with a total order. Other machines may work; nothing shows that they do.
func Proven(arch string) bool { return Total(arch) || arch == "arm64" }
