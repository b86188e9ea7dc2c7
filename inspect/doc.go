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
//		fmt.Println(m.ID, m.Type, m.Name, m.OwnerNames())
//	}
//
// [Lookup] opens a map by a path, an id or a name, [One] describes it, and [Users]
// distinguishes its consumers and producers from processes that only hold it. A [Sampler]
// measures the flow of data through all rings and finds those that are stuck. [Rival] finds
// another process that consumes or produces a ring.
//
// # Effects on the host
//
// The package does not change the maps or processes that it describes. The kernel's iterators
// read positions, descriptors and mappings from the kernel's own structures. Without the
// iterators the package reads /proc, and maps each ring read-only while it reads the ring's
// positions. It never maps arenas, since the first mapping would fix their address. Functions
// close their descriptors before they return.
//
// # Privileges and limits
//
// The iterators need CAP_BPF and CAP_PERFMON, with which programs are found as well. Where these are attached and, without
// the iterators, the list of maps need CAP_SYS_ADMIN. Pins need read permission on the pins and their directories.
// Without the privileges that a function needs to return anything, its error matches
// [fs.ErrPermission]. Other facts that are unknown because of a missing privilege or kernel
// feature are nil, not empty, and a note says why.
//
// The package finds the processes of the caller's pid namespace and its descendants, and the
// pins of its mount namespace. For programs attached without a BPF link, it searches the
// cgroups of the mount namespace, which needs CAP_NET_ADMIN, and the interfaces of the network
// namespace.
//
// # Concurrency
//
// Any number of goroutines can call all functions at once. Only one goroutine at a time can
// call the methods of a [Sampler]. Results belong to the caller, except as [Sampler.Sample] says.
package inspect
