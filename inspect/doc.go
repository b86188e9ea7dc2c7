// Package inspect says which rings and arenas exist on this host, how full they
// are, and who and what uses them.
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
// [Lookup] opens the map that a user means by a path, an id or a name, [One]
// describes it, and [Users] tells its consumer from those who merely hold it. A
// [Sampler] looks again and again, and tells what flows and what is stuck.
//
// # What it does to the host
//
// Nothing. The kernel's iterators read positions, descriptors and mappings out of its
// own structures. Where they cannot be used, rings are mapped read-only, for as long as
// it takes to read their positions, and processes are looked at in /proc;
// arenas are never mapped, because the first mapping would fix their address.
// Descriptors are closed before a function returns.
//
// # What it can know
//
// The iterators take CAP_BPF and CAP_PERFMON; programs, pins and, without the iterators,
// the list of maps take CAP_SYS_ADMIN. What stays unknown for want of a privilege
// or a kernel feature is nil, never merely empty, and a note says why. Processes are
// those of this process's pid namespace and of the namespaces in it, pins those
// of its mount namespace. Where programs are attached without a link is looked up in the
// cgroups that are mounted here, which takes CAP_NET_ADMIN, and in this network namespace.
//
// All functions may be called by many goroutines at once, the methods of a Sampler by one.
package inspect
