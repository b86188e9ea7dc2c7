package inspect

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// likelyUsers infers from what /proc shows which processes use the maps.
func likelyUsers(shapes []shape, procs []process) *Usage {
	usage := &Usage{Users: map[ebpf.MapID][]User{}}
	for _, p := range procs {
		for _, s := range shapes {
			if u := p.judge(s); u.Holds || u.Mapped {
				usage.Users[s.id] = append(usage.Users[s.id], u)
			}
		}
	}
	usage.seen = countLikely(usage.Users)
	return usage
}

// judge infers how p uses the map of shape s.
//
// /proc shows the offset, size and protection of a mapping, but not its map. A consumer of a ring usually has
// two mappings. That of page 0 is writable, and looks like one of a program's global variables. That of the rest
// of the ring is read-only, and only a ring of this size has such a mapping: it decides whether p uses the ring.
// A process that has it, but not page 0, observes. A producer of a user ring has the mapping of the rest
// writable, which the kernel refuses to consumers.
func (p process) judge(s shape) User {
	u := User{PID: p.pid, Comm: p.comm, Self: p.self}
	alike := 0 // maps that p holds, of the type and size of s: their mappings would look the same
	for _, h := range p.held {
		u.Holds = u.Holds || h.id == s.id
		if h.typ == s.typ && h.size == s.size {
			alike++
		}
	}
	page := uint64(os.Getpagesize())
	pos, data := 0, 0
	for _, v := range p.vmas {
		switch s.typ {
		case ebpf.RingBuf:
			if v == (vma{0, page, true}) {
				pos++
			}
			if v == (vma{page, page + 2*s.size, false}) || v == (vma{0, 2*page + 2*s.size, false}) {
				data++
			}
		case ebpf.UserRingbuf:
			if v == (vma{page, page + 2*s.size, true}) {
				pos++
				data++
			}
			if v == (vma{0, 2*page + 2*s.size, false}) {
				data++
			}
		case ebpf.Arena:
			if v.offset == 0 && v.size == s.size {
				data++
			}
		}
	}
	if data == 0 || !u.Holds && data <= alike {
		return u // the mappings belong to other maps
	}
	u.Mapped = true
	u.Consumes = s.typ == ebpf.RingBuf && pos > 0
	u.Produces = s.typ == ebpf.UserRingbuf && pos > 0
	switch {
	case !u.Holds:
		u.Why = "it has mapped a map of this size whose descriptor it closed"
	case alike > data:
		u.Why = fmt.Sprintf("it has mapped %d of the %d maps of this size that it holds", data, alike)
	default:
		u.Why = "it has a map of this size mapped"
	}
	if u.Consumes {
		u.Why += ", and the consumer page of a ring mapped writable"
	}
	return u
}
