package object_test

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/object"
)

func TestAnObjectIsParsedOnceAndEachCopyIsItsOwn(t *testing.T) {
	parsed := 0
	newSpec := object.Copies(func() (*ebpf.CollectionSpec, error) {
		parsed++
		return &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"ring": {MaxEntries: 4096}}}, nil
	})
	first, err := newSpec()
	if err != nil {
		t.Fatal(err)
	}
	first.Maps["ring"].MaxEntries = 8192
	second, err := newSpec()
	if err != nil {
		t.Fatal(err)
	}
	if got := second.Maps["ring"].MaxEntries; got != 4096 {
		t.Errorf("the second copy has %d entries: the first one's", got)
	}
	if parsed != 1 {
		t.Errorf("parsed %d times", parsed)
	}
}

func TestAnObjectThatCannotBeParsed(t *testing.T) {
	broken := errors.New("broken")
	spec, err := object.Copies(func() (*ebpf.CollectionSpec, error) { return nil, broken })()
	if spec != nil || !errors.Is(err, broken) {
		t.Errorf("got %v and %v", spec, err)
	}
}
