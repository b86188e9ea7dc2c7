// Package sentinel makes sentinel errors of different packages match each other: errors.Is finds the
// ErrCorrupt of an arena in that of a ring, and the other way round, while each keeps its own text.
package sentinel

import "io/fs"

// Kind is what sentinels that match have in common.
type Kind int

// Kinds of errors.
const (
	Corrupt  Kind = iota // shared memory contradicts itself
	NotFound             // the named object does not exist; matches fs.ErrNotExist too
)

// New returns a sentinel error. It matches every sentinel of its kind.
func New(kind Kind, text string) error { return &sentinel{kind, text} }

type sentinel struct {
	kind Kind
	text string
}

func (s *sentinel) Error() string { return s.text }

func (s *sentinel) Is(target error) bool {
	if s.kind == NotFound && target == fs.ErrNotExist {
		return true
	}
	other, ok := target.(*sentinel)
	return ok && other.kind == s.kind
}
