package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/fleet"
	"github.com/rbtool/rbtool/internal/natstest"
	"github.com/rbtool/rbtool/internal/ring"
)

// natsMain is the command nats DIR PORT: a NATS server until it is killed.
func natsMain() {
	_, err := natstest.Start(os.Args[1], number(os.Args[2]), nil)
	fatal(err)
	fmt.Println("ready")
	select {}
}

// natsProcess is a NATS server in a process of its own.
type natsProcess struct {
	dir  string
	port int
	cmd  *exec.Cmd
}

// newNATS starts a server, which the end of the test kills.
func newNATS(t *testing.T) *natsProcess {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &natsProcess{dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
	l.Close()
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *natsProcess) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// start starts the server and waits until it listens.
func (s *natsProcess) start(t *testing.T) {
	t.Helper()
	s.cmd = rbtool(t, s.dir, strconv.Itoa(s.port))
	s.cmd.Args[0] = "nats"
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the NATS server did not start: %q, %v", line, err)
	}
}

func (s *natsProcess) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// natsServer starts a server in this process, which the end of the test stops, and returns its address.
func natsServer(t *testing.T, change func(*server.Options)) string {
	t.Helper()
	s, err := natstest.Start(t.TempDir(), -1, change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { natstest.Stop(s) })
	return s.Addr().String()
}

// jetStream connects to a server.
func jetStream(t *testing.T, addr string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://"+addr, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// storedBatches returns all batches in a stream.
func storedBatches(t *testing.T, js jetstream.JetStream, stream string) (all []*fleet.Batch) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		msg, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := fleet.ParseBatch(msg.Header.Get, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// recordsIn returns the records of batches of one ring that are encoded raw. It fails the test unless the batches cover the ring
// without a gap or an overlap, and their records are in order and in the parts that they cover.
func recordsIn(t *testing.T, batches []*fleet.Batch) (all []fleet.Record) {
	t.Helper()
	for i, b := range batches {
		if i > 0 && b.From != batches[i-1].To {
			t.Errorf("batch %d covers positions from %d, the one before it to %d", i, b.From, batches[i-1].To)
		}
		end := b.From
		for rec, err := range b.All() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Pos < end {
				t.Fatalf("batch %d: a record at %d after %d", i, rec.Pos, end)
			}
			end = rec.Pos + ring.Span(uint32(len(rec.Data)))
			all = append(all, rec)
		}
		if end > b.To {
			t.Errorf("batch %d ends at %d, and has a record up to %d", i, b.To, end)
		}
	}
	return all
}

// eventually waits until a condition holds, of which there is no event.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: it never happened", what)
		case <-time.After(lookAgain):
		}
	}
}

// lastSeq returns the sequence number of the last message of the stream EVENTS, or 0 while there is none or no server.
func lastSeq(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.LastSeq
}

// backlog returns how many bytes of a ring are not consumed.
func backlog(t *testing.T, m *ebpf.Map) uint64 {
	t.Helper()
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	return mem.ConsumerPos().To(mem.ProducerPos())
}

// checkNumbers fails the test unless records are those of the producer with the numbers from 0 to count.
func checkNumbers(t *testing.T, records []fleet.Record, count uint64, size int) {
	t.Helper()
	want := make([]byte, size)
	for i, rec := range records {
		if producer.Fill(uint64(i), want); !bytes.Equal(rec.Data, want) {
			t.Fatalf("record %d at position %d is %x, want %x", i, rec.Pos, rec.Data, want)
		}
	}
	if uint64(len(records)) != count {
		t.Errorf("%d records are stored, %d were produced", len(records), count)
	}
}

// produced returns the position behind the last record of a ring.
func produced(t *testing.T, m *ebpf.Map) uint64 {
	t.Helper()
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	return uint64(mem.ProducerPos())
}
