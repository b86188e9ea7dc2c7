package cli

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func cmdTimes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: times NAME N [PLUS]")
	}
	sum := 0
	for i, arg := range args[1:] {
		n, err := strconv.Atoi(arg)
		ts.Check(err)
		if i == 0 {
			n *= int(testenv.PageSize) / 4096
		}
		sum += n
	}
	ts.Setenv(args[0], strconv.Itoa(sum))
}

// An arena may hold a copy of one from a kernel with another page size.
func TestArenaOfAnotherPageSize(t *testing.T) {
	skipWithoutArena(t)
	path := testenv.PinPath(t, "a")
	other := uint32(4 << 10)
	if testenv.PageSize == other {
		other = 16 << 10
	}
	a, err := arena.Create(arena.Options{Name: "other_pages", Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := pin.Map(a.Map(), path, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := container.Format(a); err != nil {
		t.Fatal(err)
	}
	super, err := arena.Ptr[arenamem.Super](a.Base()).In(a)
	if err != nil {
		t.Fatal(err)
	}
	super.HeapStart = max(uint64(other), 8<<10)
	super.Brk, super.Present = super.HeapStart, super.HeapStart
	atomic.StoreUint32(&super.PageSize, other)

	want := fmt.Sprintf("unknown arena layout: heap was made for pages of %d bytes, this kernel has pages of %d\n", other, testenv.PageSize)
	for _, args := range [][]string{
		{"heap", path}, {"list", path, "l"}, {"table", path}, {"put", path, "key", "value"}, {"get", path, "key"}, {"del", path, "key"},
	} {
		cmd := rbtool(t, append([]string{"arena"}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != command.StatusFailed || !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("arena %s: %v: %s, want %s", args, err, &stderr, want)
		}
	}
	if super.PageSize != other || super.Roots != [arenamem.MaxRoots]uint64{} {
		t.Errorf("the superblock was changed: %+v", super)
	}
}
