package drain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// helperVariable is an environment variable. If it is set, the test binary drains until it is
// killed, with two maps whose descriptors it inherits.
const helperVariable = "RBTOOL_TEST_DRAIN"

func helper() error {
	var maps [2]*ebpf.Map
	for i := range maps {
		var err error
		if maps[i], err = ebpf.NewMapFromFD(3 + i); err != nil {
			return err
		}
	}
	d, err := Load(maps[0], Options{To: maps[1], Limit: 16})
	if err != nil {
		return err
	}
	if err := d.Start(50 * time.Microsecond); err != nil {
		return err
	}
	fmt.Println("draining")
	for {
		if _, err := d.Run(RunOptions{Limit: 3}); err != nil && !errors.Is(err, ErrContended) && !errors.Is(err, ErrBusy) {
			return err
		}
	}
}

// startHelper starts a process that drains from p.user into p.ring. kill kills the process.
func (p *pair) startHelper(t *testing.T) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"=1")
	cmd.Stderr = os.Stderr
	for _, m := range []*ebpf.Map{p.user, p.ring} {
		fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "map")
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		defer file.Close()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if _, err := io.ReadFull(out, make([]byte, len("draining"))); err != nil {
		kill()
		t.Fatalf("helper: %v", err)
	}
	return kill
}

// Each sample arrives once although processes that drain are killed at random moments. The target
// is full most of the time, and two Drains take turns.
func TestKilledDrainsLoseNothing(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 6
	}
	p := newPair(t, 4*testenv.PageSize, testenv.PageSize, Options{})
	r := rand.New(rand.NewPCG(5, 6))
	size := func(seq uint64) int { return 8 + int(mixed(seq)%200) }
	var fed, got uint64
	turn := func() {
		for p.put(payload(fed, size(fed)), 0) {
			fed++
			if mixed(fed)%8 == 0 {
				p.put(nil, discardBit)
			}
		}
		p.publish(p.pos)
		for rec := range p.reader.Pass(1 + r.IntN(4)) {
			if seq := binary.LittleEndian.Uint64(rec.Data); seq != got || len(rec.Data) != size(got) {
				t.Fatalf("record %d of %d bytes is sample %d", got, len(rec.Data), seq)
			}
			got++
		}
		if err := p.reader.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		kill := p.startHelper(t)
		deadline := time.Now().Add(time.Minute)
		for until := got + uint64(r.IntN(2000)); got < until; turn() {
			if time.Now().After(deadline) {
				kill()
				t.Fatalf("round %d: stuck at %d of %d samples", round, got, fed)
			}
		}
		kill()
	}
	for want := fed; got < want; turn() {
		p.run(t)
	}
}
