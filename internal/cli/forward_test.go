package cli

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/natstest"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestForwardScripts runs testdata/forward/*.txtar. $NATS is the URL of a server, and $GUARDED that of one that asks for the user
// rb with the password secret.
func TestForwardScripts(t *testing.T) {
	open := "nats://" + natsServer(t, nil)
	guarded := "nats://" + natsServer(t, func(o *server.Options) { o.Username, o.Password = "rb", "secret" })
	runScripts(t, "testdata/forward", func(env *testscript.Env) {
		env.Setenv("NATS", open)
		env.Setenv("GUARDED", guarded)
	})
}

// killsEnv is the environment variable that sets how often TestForwardersAndServersAreKilled kills.
const killsEnv = "RBTOOL_KILLS"

// outage is a ring that is forwarded through a network, while a producer fills it.
type outage struct {
	ring    *ebpf.Map
	path    string
	nats    *natsProcess
	proxy   *natstest.Proxy
	js      jetstream.JetStream
	forward *exec.Cmd
	rng     *rand.Rand
}

// Whatever is killed or cut, each record that the kernel took is stored once, in order.
func TestForwardersAndServersAreKilled(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	kills := 8
	if testing.Short() {
		kills = 4
	}
	if text := os.Getenv(killsEnv); text != "" {
		kills = number(text)
	}
	o := &outage{nats: newNATS(t), rng: rand.New(rand.NewPCG(1, 2))}
	o.ring, o.path = pinnedRing(t, 1<<20)
	var err error
	if o.proxy, err = natstest.NewProxy(o.nats.addr()); err != nil {
		t.Fatal(err)
	}
	defer o.proxy.Close()
	o.js = jetStream(t, o.nats.addr())
	p, err := producer.Load(o.ring)
	n := newNumbered(t, p, err)
	stop := make(chan struct{})
	var produced sync.WaitGroup
	produced.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				n.make(t, 200, 24) // waits while the ring is full: every number must be stored
			}
		}
	})
	o.start(t)
	for range kills {
		before := lastSeq(t, o.js)
		eventually(t, "batches are stored", func() bool { return lastSeq(t, o.js) > before+uint64(o.rng.IntN(20)) })
		o.strike(t)
	}
	close(stop)
	produced.Wait()
	eventually(t, "the ring is empty", func() bool { return backlog(t, o.ring) == 0 })
	o.forward.Process.Signal(os.Interrupt)
	if err := o.forward.Wait(); err != nil {
		t.Errorf("the forwarder: %v", err)
	}
	checkNumbers(t, recordsIn(t, storedBatches(t, o.js, "EVENTS")), n.next, 24)
}

// start starts a forwarder.
func (o *outage) start(t *testing.T) {
	t.Helper()
	o.forward = rbtool(t, "forward", o.path, "--to", "nats://"+o.proxy.Addr()+"/EVENTS", "--create", "--batch", "16")
	o.forward.Stderr = nil
	if err := o.forward.Start(); err != nil {
		t.Fatal(err)
	}
}

// strike kills the forwarder or the server and starts it again, or cuts the network for a while.
func (o *outage) strike(t *testing.T) {
	t.Helper()
	switch o.rng.IntN(3) {
	case 0:
		o.forward.Process.Kill()
		o.forward.Wait()
		o.start(t)
	case 1:
		o.nats.kill()
		o.nats.start(t)
	case 2:
		o.proxy.Cut(true)
		time.AfterFunc(time.Duration(o.rng.IntN(50))*time.Millisecond, func() { o.proxy.Cut(false) })
	}
}
