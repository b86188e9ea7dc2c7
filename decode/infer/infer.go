// Package infer finds the types of a ring's records from the programs on this host that
// refer to the ring: their BTF, their instructions and source lines, and the objects that they are of.
//
//	found, err := infer.Of(ring, infer.Options{})
//	...
//	if found.Set != nil {
//		codec, err := found.Set.Codec(record)
//	}
//
// # Sources
//
// The kernel keeps a program's instructions, its source lines, and the BTF that its loader
// passed: libbpf and bpftool pass all of the object's BTF, cilium/ebpf passes only the types
// that functions refer to. [Of] reads the BTF of the programs that refer to the ring, or to a map of maps that
// holds it; of the maps that they use; and of other programs that use these. If that leaves a type
// uncertain, it looks for the programs' object in the executables of the processes that hold the ring. What no
// source describes is reconstructed from the instructions and their lines, which name the members.
//
// # Certainty
//
// The type of the records that a call produces ([Site]) is
//
//   - certain if the program states it and it has their size: the program passes the record to a function that
//     takes a pointer to the struct; or the record is a global variable, an element of a map, a part of them,
//     or an argument of known type; or a source line of the call names the struct; or the ring's own
//     definition does; and neither the writes nor the members that source lines name speak against it, nor
//     does the program state another type as well;
//   - likely if the type is only the beginning of the records, or they of it; if a write or a name does not fit, or
//     another type is stated as well; if it is the only type of this size whose members match the program's
//     writes, or a variable exports it, as in "const struct event *unused"; or if it is reconstructed;
//   - unknown otherwise; [Site.Why] says why.
//
// # Privileges
//
// [Of] reads programs with CAP_SYS_ADMIN, or with CAP_BPF and CAP_PERFMON from the kernel's memory. It needs CAP_BPF
// and CAP_PERFMON to find the processes that hold the ring, and CAP_SYS_PTRACE to read the executables of other
// users. Without one of them it goes on with less, and a note says so. Two things are shown only to a process that
// can see kernel addresses
// (CAP_SYSLOG, kernel.kptr_restrict below 2): the instructions of a program whose constants are
// blinded (net.core.bpf_jit_harden; kernel/bpf/syscall.c, bpf_prog_get_info_by_fd), and which
// helper an instruction calls. If the helper is hidden, it is derived from the source line or
// the arguments of the call.
//
// # Several types
//
// Records of several types are told apart by a number that each site sets to constants of its own, by their
// length, or by both ([decode.NewCases]). Types whose records look the same are shown as what they begin with, if
// that is the same, or in hex. Records that only look like those of a known type are likely of that type.
package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
)

// Result is what [Of] found about the types of a ring's records. It belongs to the caller.
type Result struct {
	// Set has the types that were found and can be told apart; nil if there are none.
	Set *decode.Set
	// Certainty is that of the least certain type found; Unknown if Set is nil.
	Certainty Certainty
	// Partial reports that some records have no type in Set.
	Partial bool
	// Why explains in one line the types and their certainty, or why no type was found.
	Why string
	// Sites are the places in programs that produce records.
	Sites []*Site
	// Notes say which programs could not be read, and why.
	Notes []string
}

// Options are options of [Of]. The zero value is right for most callers.
type Options struct {
	// Given is BTF that is not in the kernel and describes the ring's programs, such as their object's.
	Given []Source
	// Host, if not nil, is what Of takes for the host's programs, instead of reading them.
	Host *Host
}

// host returns the host of the options. The caller must call close.
func (o *Options) host() (*host, error) {
	if o.Host != nil {
		return o.Host.share(), nil
	}
	return readHost()
}

// Of finds the types of the records of a RINGBUF, or of the samples of a USER_RINGBUF, which the programs that
// drain it tell. Without a capability it finds less, and a note says which step takes which. Types that it cannot find
// are not an error. The caller still owns ring. Any number of goroutines can call Of at once.
func Of(ring *ebpf.Map, o Options) (*Result, error) {
	r := &Result{}
	s, err := newSearch(ring, o, programTime, ownerTime)
	if err != nil {
		return nil, fmt.Errorf("find record types: %w", err)
	}
	defer s.close()
	r.Sites = s.sites()
	if len(r.Sites) == 0 || slices.ContainsFunc(r.Sites, (*Site).uncertain) {
		s.askOwners()
		s.settle(r.Sites)
	}
	s.askDebug(r.Sites)
	complete(r.Sites)
	s.askReaders(r.Sites)
	r.Notes = s.notes
	switch {
	case len(r.Sites) > 0:
		r.combine()
	case len(s.programs) > 0:
		r.Why = fmt.Sprintf("%d programs refer to the ring, but none is seen to produce or drain a record", len(s.programs))
	default:
		r.Why = "no program refers to the ring or to a map of maps that holds it"
		if len(r.Notes) > 0 {
			r.Why = strings.Join(r.Notes, "; ")
		}
		r.declared(s)
	}
	if s.partial {
		r.Certainty, r.Partial = min(r.Certainty, Likely), true
	}
	return r, nil
}

// declared sets the type that a source declares for the ring, of which no program is known.
func (r *Result) declared(s *search) {
	for _, src := range s.given {
		types := src.records(s.ring.Name)
		if len(types) == 0 {
			continue
		}
		set, err := decode.NewSet(types...)
		if err != nil {
			r.Why = err.Error()
			return
		}
		r.Set, r.Certainty, r.Why = set, Likely, fmt.Sprintf("%s (likely: the definition of the ring says so in %s)", names(types), src.why)
		return
	}
}
