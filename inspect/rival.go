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
func Rival(m *ebpf.Map) (*User, error) { return steady(func() ([]User, error) { return rivals(m) }) }

// steady returns a user that two consecutive calls of find return, or nil. A process that only
// tries to open a ring and finds it taken has it mapped for a moment; steady ignores it.
func steady(find func() ([]User, error)) (*User, error) {
	before, err := find()
	if err != nil || len(before) == 0 {
		return nil, err
	}
	now, err := find()
	if err != nil {
		return nil, err
	}
	for _, u := range now {
		for _, b := range before {
			if u.PID == b.PID {
				return &u, nil
			}
		}
	}
	return nil, nil
}

// rivals returns the users of m other than the caller that consume or produce it.
func rivals(m *ebpf.Map) ([]User, error) {
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	id, _ := info.ID()
	usage, err := Users(m)
	if err != nil {
		return nil, err
	}
	var found []User
	for _, u := range usage.Users[id] {
		// A producer inferred from the sizes of mappings may produce into another ring.
		if !u.Self && (u.Consumes || u.Produces && (u.Exact || u.Holds)) {
			found = append(found, u)
		}
	}
	unseen, err := usage.Unseen(id)
	switch {
	case unseen > 0:
		found = append(found, User{})
	case err != nil && len(found) == 0:
		return nil, unseenError{err}
	}
	return found, nil
}
