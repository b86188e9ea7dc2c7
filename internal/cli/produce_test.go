package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
	"github.com/rbtool/rbtool/pin"
)

// pinnedUserRing returns a user ring and the path of its pin.
func pinnedUserRing(t *testing.T, size uint32) (*ebpf.Map, string) {
	t.Helper()
	m := testenv.Map(t, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: size})
	path := testenv.PinPath(t, "user")
	if err := pin.Map(m, path, pin.Options{}); err != nil {
		t.Fatal(err)
	}
	return m, path
}

// produceLines starts produce with the lines 1 to n as input. It returns the command and its standard
// error.
func produceLines(t *testing.T, path string, n int, flags ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := rbtool(t, append([]string{"produce", "--user", path}, flags...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	r, w := io.Pipe()
	cmd.Stdin = r
	go func() {
		var lines []byte
		for i := range n {
			lines = append(strconv.AppendInt(lines, int64(i+1), 10), '\n')
			if len(lines) > 1<<16 || i == n-1 {
				if _, err := w.Write(lines); err != nil {
					return
				}
				lines = lines[:0]
			}
		}
		w.Close()
	}()
	t.Cleanup(func() { r.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, &said
}

// Lines pass unchanged through produce, a drain that runs from a kernel timer, and tail. The rings have
// one page each and are full most of the time.
func TestEachLineArrivesOnceAndInOrder(t *testing.T) {
	count, sizes := 1_000_000, []uint32{testenv.PageSize, 1 << 20}
	if testing.Short() {
		count, sizes = 600, sizes[:1]
	}
	for _, size := range sizes {
		t.Run(command.FormatSize(uint64(size)), func(t *testing.T) {
			user, userPath := pinnedUserRing(t, size)
			_, ringPath := pinnedRing(t, user.MaxEntries())
			drained := filepath.Join(testenv.BPFFS(t), "drain")
			if err := rbtool(t, "drain", userPath, "--to", ringPath, "--every", "1ms", "--pin-dir", drained).Run(); err != nil {
				t.Fatal(err)
			}
			tail := rbtool(t, "tail", ringPath, "-o", "raw", "-n", strconv.Itoa(count))
			var out bytes.Buffer
			tail.Stdout = &out
			if err := tail.Start(); err != nil {
				t.Fatal(err)
			}
			defer tail.Process.Kill()
			produce, said := produceLines(t, userPath, count)
			if err := errors.Join(produce.Wait(), tail.Wait()); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			records := splitRaw(out.Bytes())
			if len(records) != count {
				t.Fatalf("%d records, want %d", len(records), count)
			}
			for i, rec := range records {
				if string(rec) != strconv.Itoa(i+1) {
					t.Fatalf("record %d is %q", i+1, rec)
				}
			}
			if !strings.HasPrefix(said.String(), fmt.Sprintf("%d samples, ", count)) {
				t.Errorf("summary: %s", said)
			}
			if err := rbtool(t, "drain", "stop", "--pin-dir", drained).Run(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The output of tail -o raw can be piped into produce --format lp32: all records of a ring arrive
// through a user ring and the kernel in another ring, each once, in order and unchanged.
func TestTailComposesWithProduce(t *testing.T) {
	count := 50_000
	if testing.Short() {
		count = 300 // more records than a ring can hold
	}
	page := uint32(os.Getpagesize())
	_, firstRing := pinnedRing(t, page)
	user, userPath := pinnedUserRing(t, page)
	_, lastRing := pinnedRing(t, page)
	source, sourcePath := pinnedUserRing(t, page)
	for m, to := range map[*ebpf.Map]string{source: firstRing, user: lastRing} {
		ring, err := pin.Open(to, ebpf.RingBuf)
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		d, err := drain.Load(m, drain.Options{To: ring})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Start(time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	n := strconv.Itoa(count)
	through, said := rbtool(t, "produce", "--user", userPath, "--format", "lp32"), new(bytes.Buffer)
	through.Stderr = said
	from, last := rbtool(t, "tail", firstRing, "-o", "raw", "-n", n), rbtool(t, "tail", lastRing, "-o", "raw", "-n", n)
	var err error
	if through.Stdin, err = from.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	last.Stdout = &out
	for _, cmd := range []*exec.Cmd{from, through, last} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
	}
	produce, _ := produceLines(t, sourcePath, count)
	if err := errors.Join(produce.Wait(), through.Wait(), from.Wait(), last.Wait()); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	records := splitRaw(out.Bytes())
	for i, rec := range records {
		if string(rec) != strconv.Itoa(i+1) {
			t.Fatalf("record %d is %q", i+1, rec)
		}
	}
	if len(records) != count {
		t.Errorf("%d records, want %d", len(records), count)
	}
}

// untilFull waits until the user ring has no room for another line.
func untilFull(t *testing.T, m *ebpf.Map) {
	t.Helper()
	// No event tells that a ring is full: poll for a bounded time.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); command.Pause(t.Context(), lookAgain) {
		d, err := userring.Diagnose(m)
		if err != nil {
			t.Fatal(err)
		}
		if d.ProducerPos-d.ConsumerPos > uint64(m.MaxEntries())-16 {
			return
		}
	}
	t.Fatal("the ring did not get full")
}

// cpuTime returns the CPU time that a process has used.
func cpuTime(t *testing.T, pid int) (used time.Duration) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no schedstat of process %d: %v", pid, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		used += time.Duration(ns)
	}
	return used
}

// While the user ring is full and not drained, produce waits without using the CPU. Once it is drained,
// produce continues and no line is lost.
func TestAFullRingIsWaitedForWithoutSpinning(t *testing.T) {
	// A virtual CPU can count time that its host took away as used, but not in each of several spans. A
	// process that spins uses all of each span.
	count, watch, spans := 5000, 3*time.Second, 5
	if testing.Short() {
		count, watch = 600, 500*time.Millisecond
	}
	user, path := pinnedUserRing(t, uint32(os.Getpagesize()))
	produce, said := produceLines(t, path, count)
	untilFull(t, user)
	for idle := false; !idle; spans-- {
		if spans == 0 {
			t.Fatal("more than 5% of CPU time while it waits")
		}
		before, began := cpuTime(t, produce.Process.Pid), time.Now()
		time.Sleep(watch) // not a synchronisation: the time whose CPU use is measured
		used, passed := cpuTime(t, produce.Process.Pid)-before, time.Since(began)
		t.Logf("%v of CPU time in %v", used, passed)
		idle = used <= passed/20
	}
	d, err := drain.Load(user, drain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Start(100 * time.Microsecond); err != nil {
		t.Fatal(err)
	}
	if err := produce.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(drain.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := d.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Samples != uint64(count) {
		t.Errorf("%d samples drained, want %d", s.Samples, count)
	}
	size := map[int]int{5000: 18893, 600: 1692}[count]
	if ok, _ := regexp.MatchString(fmt.Sprintf(`^%d samples, %d bytes, 0 dropped, [1-9][0-9]* waited\n$`, count, size), said.String()); !ok {
		t.Errorf("summary: %s", said)
	}
}

// A signal ends produce while it waits for input, or for the ring to have room. The samples that it
// wrote before are in the ring.
func TestAnInterruptedProduce(t *testing.T) {
	tests := []struct {
		name  string
		count int
	}{{"that waits for room", 5000}, {"that waits for input", 256}}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			user, path := pinnedUserRing(t, testenv.PageSize)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			cmd := rbtool(t, "produce", "--user", path)
			var said bytes.Buffer
			cmd.Stdin, cmd.Stderr = r, &said
			if err := errors.Join(cmd.Start(), r.Close()); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			for i := range test.count {
				fmt.Fprintf(w, "%d\n", i+1)
			}
			untilFull(t, user)
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != command.StatusInterrupted {
				t.Errorf("exit status %d, want %d", code, command.StatusInterrupted)
			}
			if !strings.HasPrefix(said.String(), "256 samples, ") || !strings.HasSuffix(said.String(), ": interrupted\n") {
				t.Errorf("the command printed: %s", &said)
			}
			d, err := drain.Load(user, drain.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if res, err := d.Run(drain.RunOptions{}); err != nil || res.Samples != 256 {
				t.Errorf("drained %+v, %v; want 256 samples", res, err)
			}
		})
	}
}

func TestProgressIsShownOnATerminal(t *testing.T) {
	_, path := pinnedUserRing(t, 1<<16)
	master, slave := terminal(t)
	cmd := rbtool(t, "produce", "--user", path, "--rate", "20")
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Repeat("line\n", 20)), slave
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	said, _ := io.ReadAll(master) // the read ends with EIO
	const line = `\r\x1b\[K[0-9]+ samples, [0-9]+ bytes, 0 dropped, [0-9]+ samples/s`
	if ok, _ := regexp.Match(`^(`+line+`){2,}\r\x1b\[K20 samples, 80 bytes, 0 dropped, 0 waited\r\n$`, said); !ok {
		t.Errorf("the command printed %q", said)
	}
}
