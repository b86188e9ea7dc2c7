package sentinel_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/rbtool/rbtool/internal/sentinel"
)

func TestSentinelsOfAKindMatch(t *testing.T) {
	ring, arena := sentinel.New(sentinel.Corrupt, "corrupt ring"), sentinel.New(sentinel.Corrupt, "corrupt arena")
	key, named := sentinel.New(sentinel.NotFound, "no such key"), sentinel.New(sentinel.NotFound, "no such map")
	tests := []struct {
		err, target error
		want        bool
	}{
		{ring, ring, true},
		{ring, arena, true},
		{fmt.Errorf("read: %w", arena), ring, true},
		{ring, key, false},
		{key, named, true},
		{key, fs.ErrNotExist, true},
		{ring, fs.ErrNotExist, false},
		{errors.New("corrupt ring"), ring, false},
	}
	for _, tt := range tests {
		if got := errors.Is(tt.err, tt.target); got != tt.want {
			t.Errorf("errors.Is(%q, %q) is %t", tt.err, tt.target, got)
		}
	}
}
