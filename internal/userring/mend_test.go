package userring

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// Another process has moved producer_pos since the fault was found, so the position of the fault is
// at the end of the ring or outside. putRight must not change the ring.
func TestMendOfWhatIsNoLongerInTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
	mem, err := ring.Produce(m.FD(), uint64(testenv.PageSize))
	if err != nil {
		t.Fatal(err)
	}
	mem.SetProducerPos(64)
	for _, pos := range []ring.Pos{64, 72, 128, 1 << 40} {
		if lost := putRight(mem, pos); lost != 0 || mem.ProducerPos() != 64 {
			t.Errorf("fault at %d: %d bytes lost, producer position %d", pos, lost, mem.ProducerPos())
		}
	}
	if err := mem.Unmap(); err != nil {
		t.Error(err)
	}
}
