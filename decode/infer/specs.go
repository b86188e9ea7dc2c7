package infer

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/rawbtf"
)

// maxAllBTF bounds the bytes of all BTF of one answer. Parsed, they take up to ten times the memory.
const maxAllBTF = 32 << 20

// errManyBTF reports that an answer would read more BTF than it may.
var errManyBTF = errors.New("the programs and maps have too much BTF")

// specs parses the BTF in the kernel, each once: programs of one object share theirs. Several goroutines can use it.
type specs struct {
	read  func(btf.ID) ([]byte, error)
	mu    sync.Mutex
	known map[btf.ID]func() (*btf.Spec, error)
	left  int // bytes that may still be read
}

func newSpecs(read func(btf.ID) ([]byte, error)) *specs {
	return &specs{read: read, known: map[btf.ID]func() (*btf.Spec, error){}, left: maxAllBTF}
}

// spec returns the BTF with the id. If there is none, the error matches [fs.ErrNotExist].
func (s *specs) spec(id btf.ID) (*btf.Spec, error) {
	if id == 0 {
		return nil, fs.ErrNotExist
	}
	s.mu.Lock()
	parsed := s.known[id]
	if parsed == nil {
		parsed = sync.OnceValues(func() (*btf.Spec, error) { return s.parse(id) })
		s.known[id] = parsed
	}
	s.mu.Unlock()
	return parsed()
}

func (s *specs) parse(id btf.ID) (*btf.Spec, error) {
	raw, err := s.read(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.left -= len(raw)
	over := s.left < 0
	s.mu.Unlock()
	if over {
		return nil, errManyBTF
	}
	return rawbtf.Parse(raw)
}
