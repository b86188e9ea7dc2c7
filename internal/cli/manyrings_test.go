package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// outerMap returns a pinned array of n rings, as programs have it with a ring for each CPU, and the path of its pin.
func outerMap(t *testing.T, n int, size uint32) (outer *ebpf.Map, rings []*ebpf.Map, path string) {
	t.Helper()
	outer = testenv.Map(t, &ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: uint32(n + 1),
		InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: size},
	})
	for i := range n {
		rings = append(rings, testenv.Ring(t, size))
		if err := outer.Put(uint32(i), rings[i]); err != nil {
			t.Fatal(err)
		}
	}
	path = testenv.PinPath(t, "per_cpu")
	if err := pin.Map(outer, path, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	return outer, rings, path
}

func newProducer(t *testing.T, m *ebpf.Map) *producer.Producer {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func produce(t *testing.T, p *producer.Producer, job producer.Job) {
	t.Helper()
	job.Op = producer.Output
	if res, err := p.Run(t.Context(), job); err != nil || res.Failed > 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// ringRecord is a line of tail -o json.
type ringRecord struct {
	Seq    uint64 `json:"seq"`
	Ring   string `json:"ring"`
	RingID uint32 `json:"ring_id"`
	Hex    string `json:"hex"`
}

// A ring for each CPU is read as one stream. One of the rings is flooded all the time: the others wait for no more than a
// batch of its records, and none loses any.
func TestARingPerCPU(t *testing.T) {
	n, flood, batch := 64, 20000, 256
	if testing.Short() {
		n, flood = 8, 1000
	}
	const each = 5
	_, rings, path := outerMap(t, n, testenv.PageSize)
	for _, m := range rings[1:] {
		produce(t, newProducer(t, m), producer.Job{Size: 16, Count: each})
	}
	total := flood + (n-1)*each
	var notes bytes.Buffer
	cmd := rbtool(t, "tail", path, "-o", "json", "--stats", "-n", fmt.Sprint(total))
	cmd.Stderr = &notes
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go produce(t, newProducer(t, rings[0]), producer.Job{Size: 16, Count: uint64(flood), RetryFull: true})
	counts, before := map[string]int{}, 0
	for dec := json.NewDecoder(out); ; {
		var rec ringRecord
		if err := dec.Decode(&rec); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		counts[filepath.Base(rec.Ring)]++
		if len(counts) < n {
			before = counts["per_cpu[0]"]
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, notes.String())
	}
	for i := range n {
		want := each
		if i == 0 {
			want = flood
		}
		name := fmt.Sprintf("per_cpu[%d]", i)
		if counts[name] != want {
			t.Errorf("%d records of %s, want %d", counts[name], name, want)
		}
		if line := fmt.Sprintf("/%s: %d records, %d bytes, 0 discarded, 0 bytes lost\n", name, want, want*16); !strings.Contains(notes.String(), line) {
			t.Errorf("no line %q in %s", line, notes.String())
		}
	}
	if before > 2*batch {
		t.Errorf("%d records of the flooded ring before the first of another one", before)
	}
	if told := strings.Count(notes.String(), "records are shown"); told > 1 {
		t.Errorf("the types were looked for %d times: %s", told, notes.String())
	}
}

// reader reads the output of a command that runs, line by line.
type reader struct{ *bufio.Scanner }

// expect reads lines until one has the text.
func (r reader) expect(t *testing.T, text string) {
	t.Helper()
	for r.Scan() {
		if strings.Contains(r.Text(), text) {
			return
		}
	}
	t.Fatalf("no line %q", text)
}

// Rings that come are read, also those that come again, and those that go are read to their end. A tail of all that is gone ends.
func TestRingsComeAndGoWhileTheyAreRead(t *testing.T) {
	outer, rings, path := outerMap(t, 2, testenv.PageSize)
	extra := testenv.Ring(t, testenv.PageSize)
	cmd := rbtool(t, "tail", path, "--no-decode")
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = nil
	errPipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, told := reader{bufio.NewScanner(outPipe)}, reader{bufio.NewScanner(errPipe)}
	produce(t, newProducer(t, rings[1]), producer.Job{Size: 8, Count: 1})
	out.expect(t, "per_cpu[1]")

	if err := outer.Put(uint32(2), extra); err != nil {
		t.Fatal(err)
	}
	p := newProducer(t, extra)
	produce(t, p, producer.Job{Size: 8, Count: 1})
	out.expect(t, "per_cpu[2]") // the record that was there before the ring was found
	told.expect(t, "per_cpu[2] has come")

	if err := outer.Delete(uint32(0)); err != nil {
		t.Fatal(err)
	}
	told.expect(t, "per_cpu[0] is no longer one of the rings to read; 0 records were read, 0 bytes lost")
	if err := outer.Put(uint32(0), rings[0]); err != nil {
		t.Fatal(err)
	}
	told.expect(t, "per_cpu[0] has come")
	produce(t, newProducer(t, rings[0]), producer.Job{Size: 8, Count: 1})
	out.expect(t, "per_cpu[0]")

	produce(t, p, producer.Job{Size: 8, Count: 1, Seq: 1})
	out.expect(t, "per_cpu[2]")
	if err := pin.Remove(path); err != nil {
		t.Fatal(err)
	}
	outer.Close()
	told.expect(t, "per_cpu[2] is no longer one of the rings to read; 2 records were read, 0 bytes lost")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// --since counts by the time that a record has, and --order time merges by it.
func TestTheTimesOfRecords(t *testing.T) {
	m, path := pinnedRing(t, testenv.PageSize)
	other := testenv.Ring(t, testenv.PageSize)
	second := testenv.PinPath(t, "second")
	if err := pin.Map(other, second, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	now := uint64(time.Now().UnixNano())
	p, q := newProducer(t, m), newProducer(t, other)
	produce(t, p, producer.Job{Size: 8, Count: 3, Seq: now - uint64(time.Hour)})
	produce(t, q, producer.Job{Size: 8, Count: 2, Seq: now + 10})
	produce(t, p, producer.Job{Size: 8, Count: 2, Seq: now})
	cmd := rbtool(t, "tail", path, second, "--struct", "struct event { u64 timestamp; }", "-o", "json", "--fields", "timestamp",
		"--since", "5m", "--order", "time", "--idle", "500ms", "--stats")
	var notes bytes.Buffer
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, notes.String())
	}
	var got []uint64
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var rec struct{ Data struct{ Timestamp uint64 } }
		if err := dec.Decode(&rec); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Data.Timestamp-now)
	}
	if !slices.Equal(got, []uint64{0, 1, 10, 11}) || !strings.Contains(notes.String(), "3 records were before --since 5m") {
		t.Errorf("records %d after now, %s", got, notes.String())
	}
}
