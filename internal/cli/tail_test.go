package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// rbtool returns a command that runs this test binary as rbtool with args.
func rbtool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "rbtool"
	cmd.Stderr = os.Stderr
	return cmd
}

// pinnedRing returns a ring and the path of its pin.
func pinnedRing(t *testing.T, size uint32) (*ebpf.Map, string) {
	t.Helper()
	m := testenv.Ring(t, size)
	path := testenv.PinPath(t, "ring")
	if err := pin.Map(m, path, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	return m, path
}

// splitRaw splits the output of tail -o raw into records. It drops the last record if the output was cut
// off within it.
func splitRaw(out []byte) (records [][]byte) {
	for len(out) >= 4 {
		n := binary.LittleEndian.Uint32(out)
		if out = out[4:]; uint64(len(out)) < uint64(n) {
			break
		}
		records = append(records, out[:n])
		out = out[n:]
	}
	return records
}

func TestRawOutputIsWhatWasSubmitted(t *testing.T) {
	const ringSize = 128 << 10
	// The records fill the ring more than once, so that they wrap around its end. With -short they fit
	// into the ring: a producer that waits for room would take the CPU from the tail that is starting.
	sizes, total := []uint32{0, 1, 7, 8, 9, 4095, 4096, 65536 - 8, 65536}, uint64(3*ringSize)
	if testing.Short() {
		sizes, total = []uint32{4095}, ringSize/2
	}
	for _, op := range []producer.Op{producer.Reserve, producer.Output, producer.Dynptr} {
		for _, size := range sizes {
			t.Run(op.String()+"/"+strconv.Itoa(int(size)), func(t *testing.T) {
				job := producer.Job{Op: op, Size: size, Count: total/(uint64(size)+8) + 5, RetryFull: true}
				if op != producer.Output {
					job.DiscardEvery = 7
				}
				tailRaw(t, ringSize, job)
			})
		}
	}
}

// tailRaw checks that tail -o raw prints the records of a job, except discarded ones.
func tailRaw(t *testing.T, ringSize uint32, job producer.Job) {
	m, path := pinnedRing(t, ringSize)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var kept []uint64
	for seq := range job.Count {
		if !job.Discarded(seq) {
			kept = append(kept, seq)
		}
	}
	cmd := rbtool(t, "tail", path, "-o", "raw", "-n", strconv.Itoa(len(kept)))
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = p.Run(t.Context(), job)
	if err != nil {
		cmd.Process.Kill()
	}
	waitErr := cmd.Wait()
	testenv.SkipIfNotSupported(t, "ringbuf-"+job.Op.String(), err)
	if err := errors.Join(err, waitErr); err != nil {
		t.Fatal(err)
	}
	records := splitRaw(out.Bytes())
	if len(records) != len(kept) {
		t.Fatalf("%d records, want %d", len(records), len(kept))
	}
	for i, rec := range records {
		if len(rec) != int(job.Size) {
			t.Fatalf("record %d has %d bytes", kept[i], len(rec))
		}
		if err := producer.Verify(kept[i], rec); err != nil {
			t.Fatal(err)
		}
	}
}

// tail works on a ring whose programs know nothing of rbtool: they find the ring by the name of its pin,
// as with libbpf's LIBBPF_PIN_BY_NAME or cilium/ebpf's PinByName.
func TestAProgramThatPinsByNameCanBeTailed(t *testing.T) {
	dir := testenv.BPFFS(t)
	path := filepath.Join(dir, "by_name")
	create := rbtool(t, "create", "ringbuf", "--pin", path, "--size", fmt.Sprint(testenv.PageSize))
	create.Stdout = io.Discard
	if err := create.Run(); err != nil {
		t.Fatal(err)
	}
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{
			"by_name": {Name: "by_name", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize, Pinning: ebpf.PinByName},
		},
		Programs: map[string]*ebpf.ProgramSpec{"prog": {
			Type: ebpf.RawTracepoint,
			Instructions: asm.Instructions{
				asm.Mov.Imm(asm.R1, 0x6f6c6c65),
				asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
				asm.LoadMapPtr(asm.R1, 0).WithReference("by_name"),
				asm.Mov.Reg(asm.R2, asm.RFP),
				asm.Add.Imm(asm.R2, -8),
				asm.Mov.Imm(asm.R3, 5),
				asm.Mov.Imm(asm.R4, 0),
				asm.FnRingbufOutput.Call(),
				asm.Return(),
			},
		}},
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	if _, err := coll.Programs["prog"].Run(&ebpf.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := rbtool(t, "tail", path, "-o", "raw", "-n", "1").Output()
	if want := "\x05\x00\x00\x00ello\x00"; err != nil || string(out) != want {
		t.Errorf("tail printed %q, %v; want %q", out, err, want)
	}
}

// If tail is killed at any point, no record is lost, and the next tail repeats at most one batch.
func TestAKilledTailLosesNothing(t *testing.T) {
	kills := 80
	if testing.Short() {
		kills = 1
	}
	m, path := pinnedRing(t, 256<<10)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, stop := context.WithCancel(t.Context())
	var produced producer.Result
	var flood sync.WaitGroup
	flood.Go(func() {
		job := producer.Job{Op: producer.Output, Size: 8, MaxSize: 200, Count: 1 << 40, RetryFull: true}
		produced, err = p.Run(ctx, job)
	})
	seen := make(map[uint64]int)
	collect := func(out []byte) {
		for _, rec := range splitRaw(out) {
			seq := binary.LittleEndian.Uint64(rec)
			if err := producer.Verify(seq, rec); err != nil {
				t.Error(err)
			}
			seen[seq]++
		}
	}
	for range kills {
		collect(tailAndKill(t, path))
	}
	stop()
	flood.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	out, err := rbtool(t, "tail", path, "-o", "raw", "--idle", "100ms").Output()
	if err != nil {
		t.Fatal(err)
	}
	collect(out)
	checkSeen(t, seen, produced.Next, kills)
}

// checkSeen checks how often each record from 0 to end was printed. kills is how many of the tails were
// killed.
func checkSeen(t *testing.T, seen map[uint64]int, end uint64, kills int) {
	t.Helper()
	missing, again := 0, 0
	for seq := range end {
		if n := seen[seq]; n == 0 {
			missing++
		} else {
			again += n - 1
		}
	}
	t.Logf("%d kills, %d records, %d of them printed again", kills, end, again)
	if missing > 0 {
		t.Errorf("%d of %d records are missing", missing, end)
	}
	const batch = 256 // the number of records that tail prints before it consumes them
	if again > kills*batch {
		t.Errorf("%d records were printed again, more than %d for each kill", again, batch)
	}
	if len(seen) != int(end) {
		t.Errorf("%d records were printed, %d produced", len(seen), end)
	}
}

// tailAndKill runs tail, kills it after its first output and a random time, and returns its output.
func tailAndKill(t *testing.T, path string, flags ...string) []byte {
	t.Helper()
	cmd := rbtool(t, append([]string{"tail", path, "-o", "raw"}, flags...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(stdout, first); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Duration(rand.Int64N(int64(20*time.Millisecond))), func() { cmd.Process.Kill() })
	defer kill.Stop()
	rest, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Fatalf("tail ended by itself: %v", cmd.ProcessState)
	}
	return append(first, rest...)
}
