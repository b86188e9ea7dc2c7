package cli

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// payloads returns the payloads of the records in a capture, and the error that ended it.
func payloads(t *testing.T, file []byte) ([][]byte, error) {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for {
		rec, err := r.Next()
		if err != nil {
			return list, err
		}
		list = append(list, bytes.Clone(rec.Data))
	}
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// recordRing runs rbtool record on the ring pinned at path and returns the capture.
func recordRing(t *testing.T, path string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := rbtool(t, "record", path, file, "--no-decode", "--idle", "100ms").Run(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Records that are recorded, replayed into a user ring, drained to another ring and recorded again have
// their original payloads, whatever their lengths. A capture that is cut off anywhere is readable up to
// its last whole record.
func TestACaptureGoesRound(t *testing.T) {
	m, path := pinnedRing(t, 1<<20)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var want [][]byte
	// The user ring has room for three of the largest records, so that replay must wait while it is
	// full.
	for _, size := range []uint32{0, 1, 7, 8, 9, 4095, 4096, producer.MaxRecord} {
		job := producer.Job{Op: producer.Output, Size: size, Seq: uint64(len(want)), Count: 3}
		if _, err := p.Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		for range job.Count {
			rec := make([]byte, size)
			producer.Fill(uint64(len(want)), rec)
			want = append(want, rec)
		}
	}
	first := recordRing(t, path)
	if got, err := payloads(t, first); err != io.EOF || !equal(want, got) {
		t.Fatalf("%d records recorded, %d submitted, or they differ; %v", len(got), len(want), err)
	}
	t.Run("cut anywhere", func(t *testing.T) { cutAnywhere(t, first, want) })

	user, userPath := pinnedUserRing(t, 128<<10)
	again := testenv.PinPath(t, "again")
	target := testenv.Ring(t, 1<<20)
	if err := pin.Map(target, again, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	d, err := drain.Load(user, drain.Options{To: target})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	file := filepath.Join(t.TempDir(), "first.pcapng")
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	replay := rbtool(t, "replay", file, "--to", userPath)
	replay.Stderr = nil
	if err := replay.Start(); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(replay.Wait(), d.Stop()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(drain.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := payloads(t, recordRing(t, again)); err != io.EOF || !equal(want, got) {
		t.Errorf("%d records came back of %d, or they differ; %v", len(got), len(want), err)
	}
}

// cutAnywhere reads a capture of the given records that is cut off: at each byte of small records, and
// at some bytes of large ones.
func cutAnywhere(t *testing.T, file []byte, records [][]byte) {
	// Find where each record's block ends, from the last one backwards. AppendRecord makes blocks of the
	// same lengths as those in the file.
	ends := make([]int, len(records))
	end := len(file) - len(capture.AppendEnd(nil, capture.End{}))
	for i, rec := range slices.Backward(records) {
		ends[i] = end
		end -= len(capture.AppendRecord(nil, capture.Record{Data: rec}))
	}
	check := func(n int) {
		whole, exact := slices.BinarySearch(ends, n)
		if exact {
			whole++
		}
		got, err := payloads(t, file[:n])
		if !errors.Is(err, capture.ErrUnfinished) && !(whole == 0 && errors.Is(err, capture.ErrFormat)) {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
		if !equal(records[:whole], got) {
			t.Fatalf("cut at %d: %d records, want %d, or they differ", n, len(got), whole)
		}
	}
	const dense = 6 << 10
	near, far := 1, 8<<10
	if testing.Short() {
		near, far = 11, 64<<10
	}
	for n := 0; n < dense; n += near {
		check(n)
	}
	for n := dense; n < len(file); n += 1 + rand.IntN(far) {
		check(n)
	}
}

// A record that is too large for the user ring ends the replay with an error that names the record. The
// records before it are in the ring.
func TestReplayOfARecordThatDoesNotFit(t *testing.T) {
	buf, err := capture.AppendHeader(nil, capture.Info{Type: ebpf.RingBuf, Size: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	buf = capture.AppendRecord(buf, capture.Record{Pos: 0, Data: []byte("small")})
	buf = capture.AppendRecord(buf, capture.Record{Pos: 16, Data: make([]byte, 5000)})
	buf = capture.AppendEnd(buf, capture.End{Records: 2})
	file := filepath.Join(t.TempDir(), "large.pcapng")
	if err := os.WriteFile(file, buf, 0o600); err != nil {
		t.Fatal(err)
	}
	_, path := pinnedUserRing(t, testenv.PageSize)
	cmd := rbtool(t, "replay", file, "--to", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != command.StatusFailed {
		t.Errorf("replay: %v", err)
	}
	want := "1 samples, 5 bytes\nrbtool: replay " + file + ": record at position 16: "
	if !bytes.HasPrefix(stderr.Bytes(), []byte(want)) || bytes.Count(stderr.Bytes(), []byte("\n")) != 2 {
		t.Errorf("stderr is %q, want %q...", &stderr, want)
	}
	if testing.Short() {
		return
	}
	out, err := rbtool(t, "tail", path, "--observe", "-o", "raw", "-n", "1").Output()
	if err != nil || string(out) != "\x05\x00\x00\x00small" {
		t.Errorf("in the ring: %q, %v", out, err)
	}
}

// While replay waits for the rest of a capture, the records so far have been printed, and a signal ends
// it.
func TestReplayOfWhatIsStillWritten(t *testing.T) {
	buf, err := capture.AppendHeader(nil, capture.Info{Type: ebpf.RingBuf, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	buf = capture.AppendRecord(buf, capture.Record{Data: []byte("first")})
	cmd := rbtool(t, "replay", "-", "-o", "hex")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(buf); err != nil {
		t.Fatal(err)
	}
	const want = "6669727374\n"
	line := make([]byte, len(want))
	if _, err := io.ReadFull(stdout, line); err != nil || string(line) != want {
		t.Errorf("it printed %q, %v; want %q", line, err, want)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != command.StatusInterrupted {
		t.Errorf("interrupted: %v", err)
	}
	if got, want := stderr.String(), "rbtool: replay -: interrupted\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}
