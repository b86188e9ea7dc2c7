// Package objects finds BPF objects inside other files: the ELF files, or only their BTF, that loaders embed
// in executables and libraries. Skeletons of bpftool, bpf2go and Go's embed do so. An object says more
// than the kernel keeps: the types of all records that its maps declare and its functions use.
//
//	found, notes := objects.OfProcesses(ctx, objects.Names{Ring: "events", Programs: names}, pids...)
//	if len(found) > 0 {
//		def, ok := found[0].Map("events") // __type(value, struct event)
//	}
//
// The files are not trusted and never executed. Work and memory are bounded, whatever they contain.
package objects
