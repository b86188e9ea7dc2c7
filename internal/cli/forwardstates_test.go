package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/natstest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// forwarder is a running rbtool forward.
type forwarder struct {
	*exec.Cmd
	wait func() error // of Cmd, which permits one call
	mu   sync.Mutex
	err  bytes.Buffer
}

// Wait waits until the command has ended. Any number of goroutines may call it.
func (f *forwarder) Wait() error { return f.wait() }

// Write collects what the command writes to stderr.
func (f *forwarder) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err.Write(b)
}

func (f *forwarder) stderr() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err.String()
}

// startForward starts rbtool forward with args, which the end of the test kills.
func startForward(t *testing.T, args ...string) *forwarder {
	t.Helper()
	f := &forwarder{Cmd: rbtool(t, append([]string{"forward"}, args...)...)}
	f.Stderr = f
	f.wait = sync.OnceValue(f.Cmd.Wait)
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Process.Kill()
		f.Wait()
	})
	return f
}

// says waits until the command has written text to stderr.
func (f *forwarder) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, "forward says "+text, func() bool { return strings.Contains(f.stderr(), text) })
}

// ends waits until the command has ended, and fails the test unless it ended with status.
func (f *forwarder) ends(t *testing.T, status int) {
	t.Helper()
	err := f.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	if got := f.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d:\n%s", got, status, f.stderr())
	}
}

// interrupt ends the command as ^C does.
func (f *forwarder) interrupt(t *testing.T) {
	t.Helper()
	f.Process.Signal(os.Interrupt)
	f.ends(t, command.StatusDone)
}

// numbered is a producer of numbered records.
type numbered struct {
	*producer.Producer
	next uint64
}

func newNumbered(t *testing.T, p *producer.Producer, err error) *numbered {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &numbered{Producer: p}
}

// make makes records of a size. The ring must have room for them, or get it.
func (n *numbered) make(t *testing.T, count uint64, size uint32) {
	t.Helper()
	res, err := n.Run(t.Context(), producer.Job{Op: producer.Output, Size: size, Seq: n.next, Count: count, RetryFull: true})
	if err != nil {
		t.Error(err)
	}
	n.next = res.Next
}

// newStream creates the stream EVENTS.
func newStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	c.Name, c.Subjects = "EVENTS", []string{"EVENTS.>"}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// Of two forwarders that consume a ring, the second is refused. Of two that observe it, one is fenced, and what is stored is
// not interleaved.
func TestTwoForwardersOfARing(t *testing.T) {
	m, path := pinnedRing(t, 1<<16)
	addr := natsServer(t, nil)
	js := jetStream(t, addr)
	newStream(t, js, jetstream.StreamConfig{})
	p, err := producer.Load(m)
	n := newNumbered(t, p, err)
	to := []string{path, "--to", "nats://" + addr + "/EVENTS"}

	first := startForward(t, to...)
	n.make(t, 10, 16)
	eventually(t, "a batch is stored", func() bool { return backlog(t, m) == 0 })
	second := startForward(t, to...)
	second.ends(t, command.StatusBusy)
	first.interrupt(t)

	watchers := []*forwarder{startForward(t, append(to, "--observe", "--status", "1ms")...), startForward(t, append(to, "--observe", "--status", "1ms")...)}
	for _, w := range watchers {
		w.says(t, "records stored")
	}
	ended := make(chan *forwarder, len(watchers))
	for _, w := range watchers {
		go func() {
			w.Wait()
			ended <- w
		}()
	}
	n.make(t, 1, 16)
	fenced := <-ended
	if status := fenced.ProcessState.ExitCode(); status != command.StatusBusy || !strings.Contains(fenced.stderr(), "another forwarder writes the batches of this ring") {
		t.Errorf("exit status %d:\n%s", status, fenced.stderr())
	}
	n.make(t, 20, 16)
	eventually(t, "the other one goes on", func() bool {
		batches := storedBatches(t, js, "EVENTS")
		return len(batches) > 0 && batches[len(batches)-1].To == produced(t, m)
	})
	checkNumbers(t, recordsIn(t, storedBatches(t, js, "EVENTS")), n.next, 16)
}

// A server that is full stores nothing, and a forwarder waits until it has room.
func TestTheServerIsFull(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	m, path := pinnedRing(t, 1<<16)
	addr := natsServer(t, nil)
	js := jetStream(t, addr)
	newStream(t, js, jetstream.StreamConfig{MaxMsgs: 1, Discard: jetstream.DiscardNew})
	p, err := producer.Load(m)
	n := newNumbered(t, p, err)
	n.make(t, 10, 16)
	f := startForward(t, path, "--to", "nats://"+addr+"/EVENTS", "--batch", "5")
	f.says(t, "waiting for the server: the server does not store batches: maximum messages exceeded")
	config := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"EVENTS.>"}}
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rest is stored", func() bool { return backlog(t, m) == 0 })
	f.says(t, "the server answers again")
	f.interrupt(t)
	checkNumbers(t, recordsIn(t, storedBatches(t, js, "EVENTS")), n.next, 16)
}

// A record that is too large for a message ends the command and stays in the ring, or is dropped and counted.
func TestARecordIsTooLargeForTheServer(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	m, path := pinnedRing(t, 1<<16)
	addr := natsServer(t, func(o *server.Options) { o.MaxPayload = 8 << 10 })
	js := jetStream(t, addr)
	newStream(t, js, jetstream.StreamConfig{})
	p, err := producer.Load(m)
	n := newNumbered(t, p, err)
	n.make(t, 5, 16)
	n.make(t, 1, 8192)
	n.make(t, 5, 16)
	to := []string{path, "--to", "nats://" + addr + "/EVENTS"}
	f := startForward(t, to...)
	f.ends(t, command.StatusFailed)
	for _, text := range []string{"too large for a message", "hint: raise the server's max_payload"} {
		if !strings.Contains(f.stderr(), text) {
			t.Errorf("stderr lacks %q:\n%s", text, f.stderr())
		}
	}
	f = startForward(t, append(to, "--on-full", "drop")...)
	eventually(t, "the ring is empty", func() bool { return backlog(t, m) == 0 })
	f.interrupt(t)
	batches := storedBatches(t, js, "EVENTS")
	if got := uint64(len(recordsIn(t, batches))); got != n.next-1 {
		t.Errorf("%d records are stored, want %d", got, n.next-1)
	}
	var dropped, size uint64
	for _, b := range batches {
		dropped, size = dropped+b.Dropped, size+b.DroppedSize
	}
	if dropped != 1 || size != 8192 {
		t.Errorf("batches count %d records of %d bytes as dropped, want 1 of 8192", dropped, size)
	}
}

// While the server is away and the ring is full, --on-full drop drops records, and batches count them.
func TestRecordsAreDroppedWhileTheServerIsAway(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	m, path := pinnedRing(t, 1<<14)
	proxy, err := natstest.NewProxy(natsServer(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	p, err := producer.Load(m)
	n := newNumbered(t, p, err)
	f := startForward(t, path, "--to", "nats://"+proxy.Addr()+"/EVENTS", "--create", "--on-full", "drop", "--batch", "100")
	n.make(t, 10, 16)
	eventually(t, "a batch is stored", func() bool { return backlog(t, m) == 0 })
	proxy.Cut(true)
	n.make(t, 3000, 16) // many times what the ring holds
	proxy.Cut(false)
	eventually(t, "the ring is empty", func() bool { return backlog(t, m) == 0 })
	n.make(t, 10, 16)
	eventually(t, "the ring is empty", func() bool { return backlog(t, m) == 0 })
	f.interrupt(t)
	batches := storedBatches(t, jetStream(t, proxy.Addr()), "EVENTS")
	stored, dropped := uint64(len(recordsIn(t, batches))), uint64(0)
	for _, b := range batches {
		dropped += b.Dropped
	}
	if dropped == 0 || stored+dropped != n.next {
		t.Errorf("%d records are stored and %d are counted as dropped, of %d", stored, dropped, n.next)
	}
}

// A ring that takes the place of another one with the same name begins anew on the same subject.
func TestARingIsRecreated(t *testing.T) {
	addr := natsServer(t, nil)
	js := jetStream(t, addr)
	newStream(t, js, jetstream.StreamConfig{})
	host := []string{"--to", "nats://" + addr + "/EVENTS", "--host", "some.host"}
	var path string
	for range 2 {
		m, pinned := pinnedRing(t, 1<<16)
		if path == "" {
			path = pinned
		} else if err := errors.Join(os.Remove(path), os.Rename(pinned, path)); err != nil {
			t.Fatal(err)
		}
		p, err := producer.Load(m)
		n := newNumbered(t, p, err)
		n.make(t, 7, 16)
		f := startForward(t, append(host, path)...)
		eventually(t, "the ring is empty", func() bool { return backlog(t, m) == 0 })
		f.interrupt(t)
	}
	batches := storedBatches(t, js, "EVENTS")
	var records uint64
	for _, b := range batches {
		records += b.Records
		if b.Host != "some.host" || b.Creation == 0 {
			t.Errorf("identity %+v", b.Identity)
		}
	}
	if first, last := batches[0], batches[len(batches)-1]; records != 14 || first.Same(last.Identity) || first.Ring != last.Ring {
		t.Errorf("%d records of %+v and %+v", records, first.Identity, last.Identity)
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("EVENTS.some%2Ehost.*"))
	if err != nil || len(info.State.Subjects) != 1 {
		t.Errorf("subjects: %v, %v", info, err)
	}
}
