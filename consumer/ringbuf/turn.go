package ringbuf

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/order"
)

// turn is a mutex to be held only while a record is copied. Without contention it costs one locked
// instruction; sync.Mutex costs two.
type turn struct{ held uint64 }

func (t *turn) try() bool { return atomic.CompareAndSwapUint64(&t.held, 0, 1) }

// begin waits for the turn.
func (t *turn) begin() {
	const (
		yields = 16 // yields after which the thread of the holder is assumed not to run
		nap    = 20 * time.Microsecond
	)
	for i := 0; !t.try(); i++ {
		if i < yields {
			runtime.Gosched()
		} else {
			time.Sleep(nap)
		}
	}
}

func (t *turn) end() { order.StoreRelease(&t.held, 0) }
