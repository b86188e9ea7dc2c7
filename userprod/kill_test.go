package userprod

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

// points are the points at which a producer dies. Before, it has committed sample 0; it has not
// committed sample 1.
var points = []struct {
	rule      string
	die       func(p *Producer) error
	abandoned int // number of busy samples that the next Producer finds
}{
	{rule: "before it reserves", die: func(p *Producer) error {
		return one(p, 0)
	}},
	{rule: "between reserve and commit", die: func(p *Producer) error {
		if err := one(p, 0); err != nil {
			return err
		}
		s, err := p.TryReserve(64)
		usercheck.Fill(s.Bytes(), 0, 1)
		return err
	}, abandoned: 1},
	{rule: "between reserve and commit, and another is committed behind", die: func(p *Producer) error {
		s, err := p.TryReserve(64)
		if err != nil {
			return err
		}
		usercheck.Fill(s.Bytes(), 0, 1)
		return one(p, 0)
	}, abandoned: 1},
	{rule: "between several and commits", die: func(p *Producer) error {
		for range 5 {
			if _, err := p.TryReserve(64); err != nil {
				return err
			}
		}
		if err := one(p, 0); err != nil {
			return err
		}
		_, err := p.TryReserve(64)
		return err
	}, abandoned: 6},
	{rule: "between header and position of Reserve", die: func(p *Producer) error {
		p.data.SetTagged(p.head.Next(64), reserved(p.head.Next(64), 64))
		return one(p, 0)
	}},
	{rule: "between header and position of TryWrite", die: func(p *Producer) error {
		if err := one(p, 0); err != nil {
			return err
		}
		room := p.data.Window(p.head)
		room.SetHeader(0, 64)
		usercheck.Fill(room.Room(0, 64), 0, 1)
		return nil
	}},
	{rule: "in a batch", die: func(p *Producer) error {
		b := begin(p)
		for seq := range uint32(2) {
			buf, err := b.TryNext(64)
			if err != nil {
				return err
			}
			usercheck.Fill(buf, 0, seq)
			if seq == 0 {
				if err := b.Publish(); err != nil {
					return err
				}
			}
		}
		return nil
	}},
}

// one writes a sample with number seq.
func one(p *Producer, seq uint32) error {
	b := make([]byte, 64)
	usercheck.Fill(b, 0, seq)
	return p.TryWrite(b)
}

// dieAt kills this process at a point.
func dieAt(point int, m *ebpf.Map) error {
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	if err := points[point].die(p); err != nil {
		return err
	}
	die()
	return nil
}

func TestAProducerThatDiesBlocksNobody(t *testing.T) {
	for i, point := range points {
		for _, drained := range []string{"after it is opened again", "before it is opened again"} {
			t.Run(point.rule+", drained "+drained, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := userRing(t, testenv.PageSize)
				c := checker(t, m, 1, 64)
				a := testenv.Start(t, fmt.Sprint("die ", i), m)
				a.ExpectKilled(t)
				if drained == "before it is opened again" {
					drain(t, c)
				}
				p := producer(t, m, Options{})
				if got := p.found; got.Abandoned != point.abandoned || got.Mended != nil {
					t.Errorf("recovered %+v, want %d abandoned", got, point.abandoned)
				}
				if err := one(p, 2); err != nil {
					t.Fatal(err)
				}
				drain(t, c)
				counts(t, c)
				came, err := c.Seen(0)
				if err != nil {
					t.Fatal(err)
				}
				if !came[0] || !came[2] || came[1] {
					t.Errorf("came: committed %t, not committed %t, of the next producer %t", came[0], came[1], came[2])
				}
			})
		}
	}
}

// States of a sample, which a worker process records in a file that outlives the process.
const (
	untouched  = iota
	attempted  // the sample may be drained
	committed  // the sample must be drained
	unwelcome  // the sample must not be drained
	killSeqs   = 1 << 20
	killWorker = 0
)

// book is that file, mapped: the number of the next sample, then one entry per sample.
type book struct{ words []uint32 }

func openBook(fd int) (*book, error) {
	mem, err := unix.Mmap(fd, 0, 4*(killSeqs+1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &book{unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(mem))), killSeqs+1)}, nil
}

func (b *book) next() uint32              { return atomic.AddUint32(&b.words[0], 1) - 1 }
func (b *book) say(seq uint32, as uint32) { atomic.StoreUint32(&b.words[1+seq], as) }

// work produces from several goroutines in all ways, until it is killed.
func work(seed uint32, m *ebpf.Map) error {
	b, err := openBook(4)
	if err != nil {
		return err
	}
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error)
	for g := range uint64(3) {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(seed), g))
			for {
				if err := workOnce(p, b, rng); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func workOnce(p *Producer, b *book, rng *rand.Rand) error {
	size := func() int { return usercheck.HeadSize + rng.IntN(500) }
	switch rng.IntN(4) {
	case 0:
		seq := b.next()
		buf := make([]byte, size())
		usercheck.Fill(buf, killWorker, seq)
		b.say(seq, attempted)
		if err := p.Write(context.Background(), buf); err != nil {
			return err
		}
		b.say(seq, committed)
	case 1, 2:
		seq := b.next()
		b.say(seq, unwelcome)
		s, err := p.Reserve(context.Background(), size())
		if err != nil {
			return err
		}
		usercheck.Fill(s.Bytes(), killWorker, seq)
		for range rng.IntN(10) { // let other goroutines commit later samples
			runtime.Gosched()
		}
		if rng.IntN(3) == 0 {
			return s.Discard()
		}
		b.say(seq, attempted)
		if err := s.Commit(); err != nil {
			return err
		}
		b.say(seq, committed)
	case 3:
		var seqs []uint32
		batch := begin(p)
		defer batch.End()
		for range rng.IntN(5) {
			buf, err := batch.TryNext(size())
			if err == ErrFull {
				break
			}
			if err != nil {
				return err
			}
			seq := b.next()
			b.say(seq, unwelcome)
			usercheck.Fill(buf, killWorker, seq)
			seqs = append(seqs, seq)
		}
		for _, seq := range seqs {
			b.say(seq, attempted)
		}
		if err := batch.End(); err != nil {
			return err
		}
		for _, seq := range seqs {
			b.say(seq, committed)
		}
	}
	return nil
}

// Producers are killed at random times. Every committed sample is drained, no discarded sample is
// drained, and the next Producer can continue.
func TestProducersKilledAtRandom(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, killSeqs)
	fd, err := unix.MemfdCreate("book", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "book")
	defer file.Close()
	if err := file.Truncate(4 * (killSeqs + 1)); err != nil {
		t.Fatal(err)
	}
	b, err := openBook(fd)
	if err != nil {
		t.Fatal(err)
	}
	busy := 0
	for i := range long(500, 10) {
		a := testenv.Start(t, fmt.Sprint("work ", i), m, file)
		a.Expect(t, "ready")
		until := time.Now().Add(time.Duration(rand.IntN(3000)) * time.Microsecond)
		for time.Now().Before(until) {
			drain(t, c)
		}
		a.Kill()
		d, err := userring.Diagnose(m)
		if err != nil || d.Fault != nil {
			t.Fatalf("after %d kills: %+v, %v", i+1, d, err)
		}
		busy += d.Busy
	}
	producer(t, m, Options{})
	for drain(t, c) > 0 {
	}
	if s, err := userring.Diagnose(m); err != nil || s.ConsumerPos != s.ProducerPos {
		t.Errorf("the ring is not empty: %+v, %v", s, err)
	}
	counts(t, c)
	came, err := c.Seen(killWorker)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]int{}
	for seq, came := range came {
		as := b.words[1+seq]
		got[as]++
		if came && as != committed && as != attempted || !came && as == committed {
			t.Fatalf("sample %d of %d: came %t, its producer said %d", seq, b.words[0], came, as)
		}
	}
	t.Logf("%d samples committed, %d cut off, %d discarded or not complete, %d left BUSY",
		got[committed], got[attempted], got[unwelcome], busy)
	unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b.words))), 4*(killSeqs+1)))
}
