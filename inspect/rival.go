package inspect

import (
	"errors"

	"github.com/cilium/ebpf"
)

// ErrUnseen reports that a process which the caller cannot see may consume or produce a ring:
// some processes are hidden, and the kernel's count of mappings cannot be read, see
// [Usage.Unseen].
var ErrUnseen = errors.New("processes are hidden")

// unseenError matches [ErrUnseen]. Its text is that of the reason why processes are hidden.
type unseenError struct{ error }

func (e unseenError) Is(target error) bool { return target == ErrUnseen }
func (e unseenError) Unwrap() error        { return e.error }

// Rival returns a process other than the caller that has the RINGBUF m mapped for consuming
// or the USER_RINGBUF m mapped for producing, or nil if there is none. It also finds processes
// that do not claim their rings as this module does, such as users of libbpf. It ignores a
// process that has the ring mapped only for a moment. A process that the caller cannot see is
// returned with PID 0. The caller still owns m.
//
// If it is unknown whether there is such a process, the error matches [ErrUnseen]; if m is
// neither a ring nor an arena, [pin.ErrWrongType].
func Rival(m *ebpf.Map) (*User, error) {
	all, err := Rivals(m)
	if err != nil {
		return nil, err
	}
	return all[0].User, all[0].Unknown
}

// Rivalry is whether there is a process that consumes or produces a ring, see [Rival].
type Rivalry struct {
	User    *User // nil if there is none
	Unknown error // matches [ErrUnseen] if it is unknown, otherwise nil
}

// Rivals is [Rival] for several maps in one search. It returns one Rivalry for each of them.
func Rivals(maps ...*ebpf.Map) ([]Rivalry, error) {
	return steady(func() ([]rivals, error) { return findRivals(maps) })
}

// rivals are the users of a map other than the caller that consume or produce it.
type rivals struct {
	users   []User
	unknown error
}

// steady returns for each map a user that two consecutive calls of find return. A process that only
// tries to open a ring and finds it taken has it mapped for a moment; steady ignores it.
func steady(find func() ([]rivals, error)) ([]Rivalry, error) {
	before, err := find()
	if err != nil {
		return nil, err
	}
	found := make([]Rivalry, len(before))
	again := false
	for i, b := range before {
		found[i].Unknown = b.unknown
		again = again || len(b.users) > 0
	}
	if !again {
		return found, nil
	}
	now, err := find()
	if err != nil {
		return nil, err
	}
	for i, b := range before {
		if len(b.users) > 0 {
			found[i] = Rivalry{common(b.users, now[i].users), now[i].unknown}
		}
	}
	return found, nil
}

// common returns a user of both lists, or nil.
func common(before, now []User) *User {
	for _, u := range now {
		for _, b := range before {
			if u.PID == b.PID {
				return &u
			}
		}
	}
	return nil
}

// findRivals finds the rivals of each map.
func findRivals(maps []*ebpf.Map) ([]rivals, error) {
	usage, err := Users(maps...)
	if err != nil {
		return nil, err
	}
	all := make([]rivals, len(maps))
	for i, m := range maps {
		info, err := m.Info()
		if err != nil {
			return nil, err
		}
		id, _ := info.ID()
		found := &all[i]
		for _, u := range usage.Users[id] {
			// A producer inferred from the sizes of mappings may produce into another ring.
			if !u.Self && (u.Consumes || u.Produces && (u.Exact || u.Holds)) {
				found.users = append(found.users, u)
			}
		}
		unseen, err := usage.Unseen(id)
		switch {
		case unseen > 0:
			found.users = append(found.users, User{})
		case err != nil && len(found.users) == 0:
			found.unknown = unseenError{err}
		}
	}
	return all, nil
}
