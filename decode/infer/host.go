package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Limits of what is read of a host, so that an answer takes a bounded time.
const (
	maxPrograms = 4096
	maxOuter    = 1024 // maps of maps
	maxInner    = 4096 // entries of a map of maps
)

// host describes the programs of this host and the maps that they use. It reads each once.
type host struct {
	kernel
	*specs
	programs []*syscall.ProgramInfo
	maps     map[ebpf.MapID]*syscall.MapInfo // nil for a map that is gone
	catalogs map[btf.ID]*catalog             // nil for BTF that cannot be read
	notes    []string
	usage    func() (*inspect.Usage, error) // who holds the maps; it waits
}

// Host is what the kernel says of the host's programs and maps at one moment. Several calls of [Of] share it by [Options].Host,
// so that each program is listed, and each BTF read, once. One goroutine at a time may use it; the caller must close it.
type Host struct{ host *host }

// ReadHost lists the programs of the host. Without the privilege it lists none, and the notes of [Of] say so.
func ReadHost() (*Host, error) {
	h, err := readHost()
	if err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	h.kernel = &shared{h.kernel, map[ebpf.MapID]innerMaps{}}
	return &Host{h}, nil
}

// Close is idempotent.
func (h *Host) Close() {
	if h.host != nil {
		h.host.kernel.(*shared).kernel.close()
		h.host = nil
	}
}

// share returns a host for one answer, which has notes of its own. Its kernel stays open.
func (h *Host) share() *host {
	own := *h.host
	own.notes = slices.Clone(own.notes)
	return &own
}

// shared is a kernel that several answers use. It reads each map of maps once.
type shared struct {
	kernel
	known map[ebpf.MapID]innerMaps
}

// innerMaps is what a map of maps has, or why it cannot be read.
type innerMaps struct {
	ids []ebpf.MapID
	err error
}

func (s *shared) inner(outer ebpf.MapID) ([]ebpf.MapID, error) {
	in, ok := s.known[outer]
	if !ok {
		in.ids, in.err = s.kernel.inner(outer)
		s.known[outer] = in
	}
	return in.ids, in.err
}

func (*shared) close() {} // Host closes the kernel

// readHost lists the programs. The caller must call close.
func readHost() (*host, error) {
	k, found, notes, err := openKernel()
	if err != nil {
		return nil, err
	}
	h := &host{kernel: k, specs: newSpecs(k.btf), programs: found, maps: map[ebpf.MapID]*syscall.MapInfo{}, catalogs: map[btf.ID]*catalog{}, notes: notes}
	if len(found) == maxPrograms {
		h.note("only the first %d programs of the host are read", maxPrograms)
	}
	return h, nil
}

// mapInfo describes a map; nil if it is gone.
func (h *host) mapInfo(id ebpf.MapID) *syscall.MapInfo {
	info, ok := h.maps[id]
	if !ok {
		info = h.kernel.mapInfo(id)
		h.maps[id] = info
	}
	return info
}

// ways returns the maps that lead to the ring: the ring itself, and each map of maps that holds it.
func (h *host) ways(ring ebpf.MapID) map[ebpf.MapID]bool {
	ways := map[ebpf.MapID]bool{ring: true}
	seen := map[ebpf.MapID]bool{ring: true}
	outer := 0
	var unread []*syscall.MapInfo
	var why error
	defer func() { h.noteUnread(unread, why) }()
	for _, p := range h.programs {
		for _, id := range p.Maps {
			if seen[id] {
				continue
			}
			seen[id] = true
			info := h.mapInfo(id)
			if info == nil || info.Type != ebpf.ArrayOfMaps && info.Type != ebpf.HashOfMaps {
				continue
			}
			if outer++; outer > maxOuter {
				h.note("only the first %d maps of maps of the host are read", maxOuter)
				return ways
			}
			held, err := h.inner(id)
			if err != nil {
				unread, why = append(unread, info), err
			}
			if slices.Contains(held, ring) {
				ways[id] = true
			}
		}
	}
	return ways
}

// noteUnread notes the maps of maps that could not be read, and why the last of them could not: any can hold the ring.
func (h *host) noteUnread(outer []*syscall.MapInfo, why error) {
	const most = 3
	var names []string
	for _, m := range outer[:min(len(outer), most)] {
		names = append(names, fmt.Sprintf("%s (%d)", m.Name, m.ID))
	}
	if more := len(outer) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if len(names) > 0 {
		h.note("maps of maps not read, which can hold the ring: %s: %v", strings.Join(names, ", "), why)
	}
}

// users returns the programs that refer to one of the maps.
func (h *host) users(maps map[ebpf.MapID]bool) (users []*syscall.ProgramInfo) {
	for _, p := range h.programs {
		if slices.ContainsFunc(p.Maps, func(id ebpf.MapID) bool { return maps[id] }) {
			users = append(users, p)
		}
	}
	return users
}

func (h *host) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}
