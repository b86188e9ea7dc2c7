package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
)

// dropped is what rbtool drops -o json says.
type dropped struct {
	Engine struct{ Name, Why string }
	Rings  []struct {
		Reservations, Failures uint64
		Low                    uint64 `json:"failures_low"`
		High                   uint64 `json:"failures_high"`
		Bytes                  uint64 `json:"failure_bytes"`
		Programs               []losses
		CPUs, Sizes            []losses
		Worst                  losses `json:"worst_second"`
		Sizing                 struct {
			Verdict   string
			Suggested uint32 `json:"suggested_bytes"`
		}
	}
}

type losses struct {
	Name                   string
	Reservations, Failures uint64
}

// startDrops starts rbtool drops, and returns when it counts. The function that it returns interrupts it and returns its report.
func startDrops(t *testing.T, args ...string) (report func() dropped) {
	t.Helper()
	needs(t, "drops")
	cmd := rbtool(t, append([]string{"drops", "--for", "10m", "-o", "json"}, args...)...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "counting by") {
	}
	return func() (doc dropped) {
		t.Helper()
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			t.Log(lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err) // ^C ends with the report, and status 0
		}
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
			t.Fatalf("%v: %s", err, &stdout)
		}
		return doc
	}
}

func TestDropsCountsWhatTwoProgramsLose(t *testing.T) {
	m, path := pinnedRing(t, 64<<10)
	report := startDrops(t, path)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const each = 10000
	want := map[string]uint64{} // failures by the names of programs
	for name, op := range map[string]producer.Op{"reserve": producer.Reserve, "output": producer.Output} {
		did, err := p.Run(t.Context(), producer.Job{Op: op, Count: each, Size: 100})
		if err != nil {
			t.Fatal(err)
		}
		want[name] = did.Failed
	}
	doc := report()
	if len(doc.Rings) != 1 || doc.Engine.Name == "" || doc.Engine.Why == "" {
		t.Fatalf("%+v", doc)
	}
	r := doc.Rings[0]
	if failed := want["reserve"] + want["output"]; r.Reservations != 2*each || r.Failures != failed || r.Low != failed || r.High != failed || r.Bytes != failed*112 {
		t.Errorf("%+v, want %d failures", r, failed)
	}
	for name, failed := range want {
		i := slices.IndexFunc(r.Programs, func(p losses) bool { return strings.HasPrefix(p.Name, name) })
		if i < 0 || r.Programs[i].Failures != failed || r.Programs[i].Reservations != each {
			t.Errorf("program %s lost %d of %d records: %+v", name, failed, each, r.Programs)
		}
	}
	if len(r.CPUs) == 0 || len(r.Sizes) == 0 || r.Sizes[0].Failures != r.Failures || r.Worst.Failures == 0 {
		t.Errorf("%+v", r)
	}
}

func TestDropsOfARingInAMapOfMaps(t *testing.T) {
	needs(t, "drops")
	s, err := reservers.Load(reservers.Config{Steps: 3000, MaxSize: 100}, reservers.InnerRing, reservers.Reserve)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(testenv.BPFFS(t), "rings")
	if err := s.Outer.Pin(path); err != nil {
		t.Fatal(err)
	}
	report := startDrops(t, path)
	for _, who := range []reservers.Reserver{reservers.InnerRing, reservers.Reserve} { // Reserve writes to a ring that was not asked for
		if err := s.Run(who); err != nil {
			t.Fatal(err)
		}
	}
	truth, err := s.Result(reservers.InnerRing)
	if err != nil {
		t.Fatal(err)
	}
	doc := report()
	if len(doc.Rings) != 1 || len(doc.Rings[0].Programs) != 1 {
		t.Fatalf("%+v", doc)
	}
	r := doc.Rings[0]
	by := r.Programs[0]
	if r.Failures != truth.Failed || r.Low != truth.Failed || r.High != truth.Failed || by.Name != "inner_many" || by.Failures != truth.Failed || by.Reservations != truth.Calls {
		t.Errorf("%+v, want %+v", r, truth)
	}
}

func TestTheSizeThatDropsAdvisesLosesNothing(t *testing.T) {
	size := uint32(64 << 10)
	for round, want := range []string{"enlarge", "fits"} {
		m, path := pinnedRing(t, size)
		reader, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := producer.Load(m)
		if err != nil {
			t.Fatal(err)
		}
		report := startDrops(t, path, "--advise")
		for range 3 {
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: 3000, Size: 100}); err != nil {
				t.Fatal(err)
			}
			for range reader.Pass(0) {
			}
		}
		r := report().Rings[0]
		if r.Sizing.Verdict != want || (r.Failures == 0) != (round == 1) {
			t.Errorf("ring of %d bytes: %d lost, %+v; want %s", size, r.Failures, r.Sizing, want)
		}
		size = r.Sizing.Suggested
		p.Close()
		reader.Close()
	}
}

func TestDropsFindsRingsThatCome(t *testing.T) {
	_, path := pinnedRing(t, 64<<10)
	dir := filepath.Dir(path)
	cmd := rbtool(t, "drops", dir+"/*", "--watch=100ms", "-o", "jsonl")
	cmd.Stderr = nil
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	pinned := false
	for lines.Scan() && !strings.Contains(lines.Text(), "/late") {
		if pinned {
			continue
		}
		pinned = true
		if err := testenv.Ring(t, 64<<10).Pin(dir + "/late"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	// ^C does what was asked, but the kernel may not let anything be counted.
	want := command.StatusDone
	if missing("drops") != nil {
		want = command.StatusUnable
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != want {
		t.Errorf("status %d, want %d", cmd.ProcessState.ExitCode(), want)
	}
}
