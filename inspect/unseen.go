package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapusers"
)

// errOutside says why users outside this pid namespace are missing from a [Usage].
var errOutside = errors.New("processes outside this pid namespace are not visible")

// errHidden says why processes of other users are missing from a [Usage].
var errHidden = errors.New("processes of other users are hidden (/proc is mounted with hidepid)")

// hidesProcesses reports whether /proc hides processes (hidepid= in proc(5)). It looks for pid 1,
// which lives as long as its pid namespace and rarely belongs to the caller's user.
func hidesProcesses() bool {
	_, err := os.Lstat("/proc/1")
	return errors.Is(err, fs.ErrNotExist)
}

// Unseen returns the number of writable mappings of the map that belong to processes which the
// caller cannot see: they are outside its pid namespace, or it may not read their /proc. Each
// such mapping is that of a consumer of a RINGBUF, of a producer of a USER_RINGBUF, or of a user
// of an arena. The map must be one of those passed to [Users].
//
// The kernel counts writable mappings in all pid namespaces (bpf_map_mmap in
// kernel/bpf/syscall.c); reading the count needs CAP_BPF and CAP_PERFMON. If processes
// are hidden and the count cannot be read, the error says why.
func (u *Usage) Unseen(id ebpf.MapID) (int, error) { return u.unseen[id], u.blind }

// usersOf finds the users of maps, and counts the writable mappings of hidden processes.
func (h *host) usersOf(shapes []shape) (*Usage, error) {
	usage, err := h.visibleUsers(shapes)
	if err != nil || usage.blind == nil {
		return usage, err
	}
	// A killed process vanishes before its mappings do (exit_mm and exit_mmap in the kernel), so mappings
	// without a visible process are counted again.
	const ms = time.Millisecond
	for _, pause := range [...]time.Duration{0, 5 * ms, 10 * ms, 20 * ms, 40 * ms} {
		time.Sleep(pause)
		// Read the kernel's count before the users: a mapping that it counts is then found among the users,
		// unless its process is hidden.
		writers, why := h.writers()
		if errors.Is(why, fs.ErrPermission) {
			return usage, nil
		}
		if why != nil {
			usage.blind = fmt.Errorf("%w, and the kernel's count of mappings is unknown: %w", usage.blind, why)
			return usage, nil
		}
		if usage, err = h.visibleUsers(shapes); err != nil {
			return nil, err
		}
		if usage.compare(shapes, writers); len(usage.unseen) == 0 {
			break
		}
	}
	return usage, nil
}

// writers returns the kernel's counts of writable mappings.
func (h *host) writers() (map[ebpf.MapID]int, error) {
	s, err := h.mapScanner()
	if err != nil {
		return nil, err
	}
	if err := s.Scan(&h.scanned); err != nil {
		return nil, err
	}
	counts := map[ebpf.MapID]int{}
	for _, e := range h.scanned.Entries {
		if e.Writers == nil {
			return nil, errors.New("it cannot be read on this kernel")
		}
		counts[e.ID] = int(*e.Writers)
	}
	return counts, nil
}

// compare sets unseen to the kernel's counts less the mappings of visible processes.
func (u *Usage) compare(shapes []shape, writers map[ebpf.MapID]int) {
	u.unseen, u.blind = map[ebpf.MapID]int{}, nil
	for _, s := range shapes {
		if n := writers[s.id] - u.seen[s.id]; n > 0 {
			u.unseen[s.id] = n
		}
	}
}

// countWritable counts the writable mappings of each map. A mapping that several uses share counts once.
func countWritable(uses []mapusers.Use) map[ebpf.MapID]int {
	counts := map[ebpf.MapID]int{}
	counted := map[mapusers.Mapping]bool{}
	for _, use := range uses {
		if use.Writable && !counted[use.Mapping] {
			counted[use.Mapping] = true
			counts[use.Map]++
		}
	}
	return counts
}

// countLikely counts for each map the users that probably have it mapped writable.
func countLikely(users map[ebpf.MapID][]User) map[ebpf.MapID]int {
	counts := map[ebpf.MapID]int{}
	for id, list := range users {
		for _, u := range list {
			if u.Consumes || u.Produces {
				counts[id]++
			}
		}
	}
	return counts
}

// addUsers fills in the users of the map.
func (m *Map) addUsers(u *Usage) {
	m.Users = known(u.Users[m.ID])
	m.UnseenWriters = u.unseen[m.ID]
}
