// Package inspect describes the rings and arenas of this host: how full they are, and
// which processes, programs and pins use them.
//
// The smallest use:
//
//	report, err := inspect.All(inspect.Options{})
//	if err != nil {
//		return err
//	}
//	for _, m := range report.Maps {
//		fmt.Println(m.ID, m.Type, m.Name)
//	}
//
// [Lookup] opens a map by a path, an id or a name, [One] describes it, and [Users]
// distinguishes its consumers and producers from processes that only hold it. A [Sampler]
// measures what flows through all rings, and which are stuck. [Rival] finds another process
// that consumes or produces a ring.
//
// # Effects on the host
//
// There are none. The kernel's iterators read positions, descriptors and mappings from its
// own structures. Without them the package reads /proc, and maps rings read-only for as
// long as it reads their positions. It never maps arenas, since the first mapping would fix
// their address. It closes its descriptors before a function returns.
//
// # Privileges and limits
//
// The iterators take CAP_BPF and CAP_PERFMON. Programs, pins and, without the iterators,
// the list of maps take CAP_SYS_ADMIN. What is unknown because of a missing privilege
// or kernel feature is nil, not empty, and a note says why.
//
// Processes are those of this process's pid namespace and its descendants; pins are those of
// its mount namespace. For programs attached without a BPF link, the package searches the
// cgroups mounted here, which takes CAP_NET_ADMIN, and the interfaces of this network
// namespace.
//
// # Concurrency
//
// Any number of goroutines can call all functions at once, but only one at a time the methods
// of a [Sampler].
package inspect
