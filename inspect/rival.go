package inspect

import (
	"errors"

	"github.com/cilium/ebpf"
)

// ErrUnseen means that a hidden process may consume or produce a ring: the kernel's count of
// mappings cannot be read, see [Usage.Unseen].
var ErrUnseen = errors.New("processes are hidden")

// unseenError is an ErrUnseen with the text of its reason.
type unseenError struct{ error }

func (e unseenError) Is(target error) bool { return target == ErrUnseen }
func (e unseenError) Unwrap() error        { return e.error }

// Rival returns a process other than the caller that has the RINGBUF m mapped for consuming
// or the USER_RINGBUF m for producing, nil if there is none. It also finds processes that claim
// nothing, such as libbpf's. A process that cannot be seen has PID 0. If there may be one, the
// error matches [ErrUnseen].
func Rival(m *ebpf.Map) (*User, error) { return steady(func() ([]User, error) { return rivals(m) }) }

// steady returns a user that find returns twice. Openers that lose a race for a ring have it
// mapped for a moment.
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

// rivals returns the other users that work with m.
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
