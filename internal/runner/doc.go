// Package runner loads a BPF object, attaches each of its programs where its section says, and tells at
// the end what they did: it is what `rbtool run` stands on.
//
//	o, err := runner.Load("prog.bpf.o", runner.Options{Set: map[string]string{"target_pid": "1"}})
//	if err != nil {
//		return err
//	}
//	defer o.Close()
//	left, err := o.Attach(runner.Targets{Devices: []string{"eth0"}})
//	...
//	for _, r := range o.Rings() {
//		... // read r.Map
//	}
//
// # Sections
//
// The section of a program says its type and where it attaches, as in libbpf. A program whose section starts with ?
// is left out unless it is asked for by name. What the section does not say comes from [Targets]: devices, a
// cgroup. A program that cannot be attached here, because its target does not exist or is not said, is left
// out and reported, as long as another one is attached.
//
// # Lifetime
//
// Everything dies with the process: links, programs and maps are held only by descriptors, until [Object.Pin] pins
// them. One goroutine at a time may use an Object, except where a method says otherwise.
package runner
