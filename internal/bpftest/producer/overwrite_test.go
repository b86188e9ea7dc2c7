package producer

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
	"golang.org/x/sys/unix"
)

// overwrite is the map flag BPF_F_RB_OVERWRITE (Linux 6.19).
const overwrite = mapflag.RBOverwrite

func TestOverwriteRingIsNeverFull(t *testing.T) {
	testenv.NoLeaks(t)
	size := uint32(os.Getpagesize())
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: size, Flags: overwrite})
	if errors.Is(err, unix.EINVAL) {
		testenv.SkipWithout(t, "ringbuf-overwrite", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	p, err := Load(ring)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if res := run(t, p, Job{Count: 1000, Size: 92}); res.Submitted != 1000 {
		t.Errorf("%+v, want 1000 submitted", res)
	}
	q, err := p.Query()
	if err != nil {
		t.Fatal(err)
	}
	held := q.ProdPos - q.OverwritePos
	if q.ProdPos != 1000*104 || held == 0 || held > uint64(size) || q.AvailData != held {
		t.Errorf("%+v, want at most a ring's size behind prod_pos, all of it available", q)
	}
}
