// Package sentinel makes sentinel errors of different packages match each other with errors.Is: the
// ErrCorrupt of the arena packages matches that of the ring packages, and vice versa. Each keeps its own
// text.
package sentinel

import "io/fs"

// Kind is a kind of error. Sentinels of the same kind match each other.
type Kind int

// Kinds of errors.
const (
	Corrupt  Kind = iota // the content of shared memory is inconsistent
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
