package inspect

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapusers"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/proc"
)

// User is a process that holds a descriptor of a map or has it mapped.
type User struct {
	PID  int
	Comm string
	Self bool // the calling process itself
	Home Home // where the process runs; [Users] leaves it empty

	Holds  bool // the process has a descriptor of the map
	Mapped bool // the process has at least part of the map's memory mapped

	// Consumes reports that the process has the consumer page of a RINGBUF mapped writable,
	// which only a consumer needs. Produces reports that it has the producer page of a
	// USER_RINGBUF mapped writable. Neither means that the process is active.
	Consumes bool
	Produces bool

	// Exact reports that the fields come from the kernel's iterators. Otherwise Holds is
	// certain if true, and Mapped, Consumes and Produces are inferred.
	Exact bool
	Why   string // why Mapped is inferred; empty if Exact
}

// Usage has the users of the maps passed to [Users].
type Usage struct {
	Users map[ebpf.MapID][]User // by ascending PID; a map without users has no key
	// Notes say what is unknown or inexact, and why.
	Notes []string

	seen   map[ebpf.MapID]int // number of writable mappings of the users
	unseen map[ebpf.MapID]int // number of writable mappings of hidden processes, if not 0
	blind  error              // why unseen is unknown, or nil
	all    map[ebpf.MapID][]int
}

// Holders returns the pids of the processes that hold a map of the host or have it mapped, whether it was asked for or
// not, in ascending order. known is false if the kernel's iterators cannot be used.
func (u *Usage) Holders(id ebpf.MapID) (pids []int, known bool) {
	return slices.Clone(u.all[id]), u.all != nil
}

// Users finds the processes that use the maps, which are rings or arenas, in one pass over all
// processes. For maps of other types the error matches [pin.ErrWrongType]. The caller still owns
// the maps.
//
// It uses the kernel's iterators over descriptors and mappings, which need CAP_BPF and
// CAP_PERFMON. Without the iterators it infers the users from /proc, which shows the sizes of
// mappings but not their maps.
func Users(maps ...*ebpf.Map) (*Usage, error) {
	var shapes []shape
	for _, m := range maps {
		err := maptype.Check(m.Type(), types)
		var info *ebpf.MapInfo
		if err == nil {
			info, err = m.Info()
		}
		if err != nil {
			return nil, fmt.Errorf("find users of map: %w", err)
		}
		id, _ := info.ID()
		shapes = append(shapes, shapeOf(m, id))
	}
	usage, err := users(shapes)
	runtime.KeepAlive(maps) // the caller holds the maps until their users have been found
	if err != nil {
		return nil, fmt.Errorf("find users of map: %w", err)
	}
	return usage, nil
}

// shape describes a map by what /proc shows of its descriptors and mappings.
type shape struct {
	id   ebpf.MapID
	typ  ebpf.MapType
	size uint64 // bytes
}

func shapeOf(m *ebpf.Map, id ebpf.MapID) shape {
	return shape{id, m.Type(), size(m.Type(), m.MaxEntries())}
}

func users(shapes []shape) (*Usage, error) {
	h := newHost()
	defer h.close()
	return h.usersOf(shapes)
}

// holder is a process that holds a map.
type holder struct {
	id  ebpf.MapID
	pid int
}

// steadyUsers is usersOf without processes that only hold a map and do so for a moment, as those do that list the maps
// of the host: bpftool, and other processes of rbtool. It looks twice if there is a holder that the last call did not find.
func (h *host) steadyUsers(shapes []shape) (*Usage, error) {
	usage, err := h.usersOf(shapes)
	if err != nil {
		return nil, err
	}
	found := usage.holders()
	for k := range h.held {
		delete(found, k)
	}
	if len(found) > 0 {
		later, err := h.usersOf(shapes)
		if err != nil {
			return nil, err
		}
		usage.keep(later.Users)
	}
	h.held = usage.holders()
	return usage, nil
}

// holders returns the processes other than the caller that hold a map and do not have it mapped.
func (u *Usage) holders() map[holder]bool {
	found := map[holder]bool{}
	for id, list := range u.Users {
		for _, user := range list {
			if !user.Self && !user.Mapped {
				found[holder{id, user.PID}] = true
			}
		}
	}
	return found
}

// keep removes the holders that later users do not have.
func (u *Usage) keep(later map[ebpf.MapID][]User) {
	for id, list := range u.Users {
		u.Users[id] = slices.DeleteFunc(list, func(user User) bool {
			stays := user.Self || user.Mapped || slices.ContainsFunc(later[id], func(l User) bool { return l.PID == user.PID })
			return !stays
		})
	}
}

// visibleUsers finds the users of maps among the processes that this process can see.
func (h *host) visibleUsers(shapes []shape) (*Usage, error) {
	s, why := h.userScanner()
	if s != nil {
		var uses []mapusers.Use
		if uses, why = s.Scan(); why == nil {
			usage := exactUsers(shapes, uses)
			usage.lookOutside()
			return usage, nil
		}
	}
	procs, hidden, err := readProcesses("/proc")
	if err != nil {
		return nil, err
	}
	usage := likelyUsers(shapes, procs)
	usage.Notes = append(usage.Notes, fmt.Sprintf("consumers and producers are inferred from /proc: %v", why))
	usage.lookOutside()
	if hidden > 0 {
		usage.missing(fmt.Errorf("%d processes could not be read (needs CAP_SYS_PTRACE)", hidden))
	}
	if hidesProcesses() {
		usage.missing(errHidden)
	}
	return usage, nil
}

// missing records why users can be missing from u.
func (u *Usage) missing(why error) {
	u.blind = why
	u.Notes = append(u.Notes, why.Error())
}

// lookOutside records that users are missing if there are processes outside this pid namespace, which are hidden.
func (u *Usage) lookOutside() {
	if initial, err := proc.InitialPIDNamespace(); err != nil {
		u.missing(fmt.Errorf("processes outside this pid namespace may be hidden: %w", err))
	} else if !initial {
		u.missing(errOutside)
	}
}

// exactUsers combines the uses of each map by each process.
func exactUsers(shapes []shape, uses []mapusers.Use) *Usage {
	typeOf := map[ebpf.MapID]ebpf.MapType{}
	for _, s := range shapes {
		typeOf[s.id] = s.typ
	}
	// started distinguishes processes: a pid can be reused between the runs of the two iterators.
	type key struct {
		id      ebpf.MapID
		pid     int
		started time.Duration
	}
	found := map[key]*User{}
	for _, use := range uses {
		typ, asked := typeOf[use.Map]
		if !asked || use.PID == 0 { // PID 0: the last thread of the process is exiting
			continue
		}
		k := key{use.Map, use.PID, use.Started}
		if found[k] == nil {
			found[k] = &User{PID: use.PID, Comm: use.Comm, Self: use.PID == os.Getpid(), Exact: true}
		}
		found[k].add(use, typ)
	}
	usage := &Usage{Users: map[ebpf.MapID][]User{}, seen: countWritable(uses), all: map[ebpf.MapID][]int{}}
	for _, use := range uses {
		usage.all[use.Map] = append(usage.all[use.Map], use.PID)
	}
	for id, pids := range usage.all {
		slices.Sort(pids)
		usage.all[id] = slices.Compact(pids)
	}
	for k, u := range found {
		usage.Users[k.id] = append(usage.Users[k.id], *u)
	}
	for _, list := range usage.Users {
		slices.SortFunc(list, func(a, b User) int { return cmp.Compare(a.PID, b.PID) })
	}
	return usage
}

func (u *User) add(use mapusers.Use, typ ebpf.MapType) {
	if use.Size == 0 {
		u.Holds = true
		return
	}
	u.Mapped = true
	if !use.Writable {
		return
	}
	// Page 0 of a ring has the consumer's position, page 1 the producer's.
	page := uint64(os.Getpagesize())
	switch typ {
	case ebpf.RingBuf:
		u.Consumes = u.Consumes || use.Offset == 0
	case ebpf.UserRingbuf:
		u.Produces = u.Produces || use.Offset <= page && page-use.Offset < use.Size
	}
}

// OwnerNames returns the names, sorted and joined by commas, of the processes other than the
// caller that consume or produce the map, with "(unseen)" for processes that the caller cannot
// see. If there are none, it returns the names of the other processes that hold or map the map.
func (m *Map) OwnerNames() string {
	var at, other []string
	for _, u := range m.Users {
		switch {
		case u.Self:
		case u.Consumes || u.Produces:
			at = append(at, u.Comm)
		default:
			other = append(other, u.Comm)
		}
	}
	if m.UnseenWriters > 0 {
		at = append(at, "(unseen)")
	}
	if len(at) == 0 {
		at = other
	}
	slices.Sort(at)
	return strings.Join(slices.Compact(at), ",")
}
