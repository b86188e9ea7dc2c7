package drain

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestASampleKeptAsideComesFirst(t *testing.T) {
	p := newPair(t, 4096, 4096, Options{})
	fed := p.fillTarget(t)
	if s, err := p.Stats(); err != nil || !s.Aside || s.Len != 100 || s.Full != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	// With a sample aside, none is taken while the target stays full.
	p.feed(payload(fed, 8))
	if res := p.run(t); !res.Full || res.Samples != 0 {
		t.Errorf("%+v", res)
	}
	records := p.take(t)
	if res := p.run(t); res.Full || res.Samples != 1 || res.Delivered != 2 {
		t.Errorf("%+v", res)
	}
	records = append(records, p.take(t)...)
	for seq, rec := range records {
		if got := binary.LittleEndian.Uint64(rec); got != uint64(seq) {
			t.Fatalf("record %d is sample %d", seq, got)
		}
	}
	if uint64(len(records)) != fed+1 {
		t.Errorf("%d records, want %d", len(records), fed+1)
	}
}

func TestCloseDeliversWhatIsAside(t *testing.T) {
	testenv.NoLeaks(t)
	user, ring := userRing(t, 4096), testenv.Ring(t, 4096)
	r, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, room := range []bool{true, false} {
		d, err := Load(user, Options{To: ring})
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{feeder: newFeeder(t, user), Drain: d, reader: r}
		fed := p.fillTarget(t)
		if room {
			p.take(t)
		}
		err = d.Close()
		if want := map[bool]error{false: ErrAside}[room]; !errors.Is(err, want) {
			t.Errorf("room %v: close: %v, want %v", room, err, want)
		}
		records := p.take(t)
		if last := binary.LittleEndian.Uint64(records[len(records)-1]); room != (last == fed-1) {
			t.Errorf("room %v: the last record is sample %d of %d", room, last, fed)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, err := d.Run(RunOptions{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("run after close: %v", err)
		}
	}
}
