package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// needs skips the test if the kernel lacks a feature.
func needs(t *testing.T, name string) {
	t.Helper()
	if err := missing(name); err != nil {
		testenv.SkipWithout(t, name, err)
	}
}

// loser is a ring without a consumer, and programs that write to it.
type loser struct {
	*producer.Producer
	id string
}

func newLoser(t *testing.T, name string) loser {
	t.Helper()
	m := testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.RingBuf, MaxEntries: 65536})
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return loser{p, strconv.Itoa(int(id))}
}

// lose makes the programs write more records than fit, and returns how many they lost.
func (l loser) lose(t *testing.T) (lost uint64) {
	t.Helper()
	for _, op := range []producer.Op{producer.Output, producer.Reserve} {
		did, err := l.Run(t.Context(), producer.Job{Op: op, Count: 2000, Size: 100})
		if err != nil {
			t.Fatal(err)
		}
		lost += did.Failed
	}
	return lost
}

// lostBy returns the sum over the programs of a metric for a ring, and the number of its series.
func lostBy(t *testing.T, scrape, name, id string) (sum float64, series int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^rbtool_`+name+`\{id="`+id+`",name="[^"]*",program="[^"]+"\} (\S+)$`).FindAllStringSubmatch(scrape, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
		series++
	}
	return sum, series
}

func TestExporterCountsDrops(t *testing.T) {
	needs(t, "drops")
	testenv.NoLeaks(t)
	defer http.DefaultClient.CloseIdleConnections()
	l := newLoser(t, "exported_drops")
	url := startExporter(t, "--drops", "--interval", "100ms")
	lost := float64(l.lose(t))
	var scrape string
	for {
		scrape = get(t, url)
		if n, _ := lostBy(t, scrape, "ring_failed_reservations_total", l.id); n >= lost {
			break
		}
		time.Sleep(50 * time.Millisecond) // the exporter reads the counts once a second
	}
	if n, programs := lostBy(t, scrape, "ring_failed_reservations_total", l.id); n != lost || programs != 2 {
		t.Errorf("%v of %v lost, by %d programs", n, lost, programs)
	}
	if n, _ := lostBy(t, scrape, "ring_failed_reservation_bytes_total", l.id); n != lost*112 {
		t.Errorf("%v bytes of %v records", n, lost)
	}
	for name, want := range map[string]float64{"ring_reservations_total": 4000, "ring_failed_reservations_uncertain": 0} {
		if n, _ := metric(t, scrape, name, "exported_drops"); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	for _, want := range []string{`rbtool_drops_engine_info\{engine="(fexit|breakpoint)"\} 1`, `rbtool_drops_calls_total [1-9]`, `rbtool_drops_missed_calls_total 0`,
		`rbtool_drops_call_cost_seconds [0-9]`, `rbtool_drops_cost_seconds_total [0-9]`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(scrape) {
			t.Errorf("no %s", want)
		}
	}
}

// startCounting starts a command that counts drops, and returns when it counts. The reader is of its standard output.
func startCounting(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := rbtool(t, args...)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "are counted") {
	}
	go io.Copy(io.Discard, stderr)
	return cmd, stdout
}

// watched is what inspect and top say of a ring.
type watched struct {
	Drops *struct {
		Reservations, Failures uint64
		Low                    uint64 `json:"failures_low"`
		High                   uint64 `json:"failures_high"`
		Programs               []losses
	}
	Drains *struct{ Calls, Invalid, Busy uint64 }
	Advice string
}

func (w *watched) check(t *testing.T, lost uint64) {
	t.Helper()
	if d := w.Drops; d == nil || d.Reservations != 4000 || d.Failures != lost || d.Low != lost || d.High != lost || len(d.Programs) != 2 {
		t.Errorf("%+v, want %d failures", d, lost)
	}
}

func TestInspectCountsDrops(t *testing.T) {
	needs(t, "drops")
	l := newLoser(t, "inspected_drops")
	cmd, stdout := startCounting(t, "inspect", "id:"+l.id, "--for", "8s", "--drops", "-o", "json")
	lost := l.lose(t)
	var doc watched
	if err := json.NewDecoder(stdout).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	doc.check(t, lost)
	if !strings.Contains(doc.Advice, "would have held it") && !strings.Contains(doc.Advice, "no size helps") {
		t.Errorf("advice: %s", doc.Advice)
	}
}

func TestTopCountsDrops(t *testing.T) {
	needs(t, "drops")
	l := newLoser(t, "top_drops")
	cmd := rbtool(t, "top", "id:"+l.id, "--drops", "-d", "100ms", "-o", "csv")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "id,type,name,size,fill,in/s,out/s,lag,full,lost,drops,state,owner" || !lines.Scan() {
		t.Fatal(lines.Text(), lines.Err())
	}
	lost := l.lose(t)
	defer time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }).Stop() // then the last line is wrong
	want := fmt.Sprintf(",%d,%d,", lost*112, lost)
	for lines.Scan() && !strings.Contains(lines.Text(), want) {
	}
	if !strings.Contains(lines.Text(), want) {
		t.Errorf("%q, want %s", lines.Text(), want)
	}
}

// A ring that is corrupt is described, not refused.
func TestInspectWatchesACorruptUserRing(t *testing.T) {
	m, path := pinnedUserRing(t, 64<<10)
	mem, err := ring.Produce(m.FD(), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	mem.SetProducerPos(4) // not a multiple of 8
	out, err := rbtool(t, "inspect", path, "--for", "100ms", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Notes []string
		Fault string
	}
	if err := json.Unmarshal(out, &doc); err != nil || !strings.Contains(doc.Fault, "not a multiple of 8") {
		t.Errorf("%v: %s", err, out)
	}
	if !slices.ContainsFunc(doc.Notes, func(note string) bool { return strings.Contains(note, "corrupt ring") }) {
		t.Errorf("notes: %q", doc.Notes)
	}
}

func TestInspectCountsFailedDrains(t *testing.T) {
	needs(t, "drain-fexit")
	m, path := pinnedUserRing(t, 64<<10)
	check, err := usercheck.Load(m, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer check.Close()
	cmd := rbtool(t, "inspect", path, "--for", "3s", "--drops", "-o", "json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	mem, err := ring.Produce(m.FD(), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Unmap()
	mem.SetProducerPos(4) // not a multiple of 8
	ended := make(chan struct{})
	failed := uint64(0)
	go func() {
		defer close(ended)
		for mem.ProducerPos() == 4 {
			if _, err := check.Drain(0, 0); err != nil {
				failed++
			}
			time.Sleep(10 * time.Millisecond) // the command takes a part of its time to start
		}
	}()
	var doc watched
	err = json.NewDecoder(stdout).Decode(&doc)
	mem.SetProducerPos(0)
	<-ended
	if err != nil {
		t.Fatal(err)
	}
	if d := doc.Drains; d == nil || d.Invalid == 0 || d.Invalid > failed || d.Calls != d.Invalid {
		t.Errorf("%+v of %d failed drains", d, failed)
	}
}
