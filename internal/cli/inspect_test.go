package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// watchedFor is what inspect --for says of a ring.
type watchedFor struct {
	Backlog  uint64  `json:"backlog"`
	State    string  `json:"state"`
	In       float64 `json:"produced_bytes_per_second"`
	Out      float64 `json:"consumed_bytes_per_second"`
	Records  float64 `json:"records_per_second"`
	High     uint64  `json:"high_water_bytes"`
	Full     float64 `json:"saturated_seconds"`
	Lag      float64 `json:"lag_seconds"`
	AtLeast  bool    `json:"lag_at_least"`
	Watched  float64 `json:"watched_seconds"`
	Producer *uint64 `json:"producer_pos"`
	Advice   string  `json:"advice"`
}

// inspectFor runs inspect --for on the ring pinned at path and returns its JSON output.
func inspectFor(t *testing.T, path, duration string) (m watchedFor) {
	t.Helper()
	out, err := rbtool(t, "inspect", path, "--for", duration, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInspectSaysWhatWaits(t *testing.T) {
	m, path := pinnedRing(t, testenv.PageSize)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: 250, Size: 8}); err != nil {
		t.Fatal(err)
	}
	got := inspectFor(t, path, "100ms")
	if got.State != "unconsumed" && got.State != "consumer_stuck" || got.High != 4000 || got.Backlog != 4000 || got.Producer == nil ||
		got.In != 0 || got.Out != 0 || got.Records != 0 || got.Full < 0.09 || got.Lag < 0.09 || !got.AtLeast || got.Watched < 0.1 {
		t.Errorf("watching a full ring: %+v", got)
	}
	if testing.Short() {
		return
	}
	out, err := rbtool(t, "inspect", path, "--for", "50ms").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nin          0 bytes/s, 0.0 records/s\n", "\nhigh water  4000 bytes\n", "\nsaturated   for ", "\nlag         at least ", "\nstate       "} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestInspectSaysWhatFlows(t *testing.T) {
	m, path := pinnedRing(t, 1<<20)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, err := consumer.NewReader(m, consumer.Options{Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var flow sync.WaitGroup
	flow.Go(func() {
		_, err := p.Run(ctx, producer.Job{Op: producer.Output, Size: 8, Count: 1 << 40, RetryFull: true})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	flow.Go(func() {
		for _, err := range r.Records(ctx) {
			if err != nil {
				return
			}
		}
	})
	got := inspectFor(t, path, "300ms")
	stop()
	flow.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got.In <= 0 || got.Out <= 0 || got.Records <= 0 || got.Records > got.In/16 {
		t.Errorf("watching a flood of records: %+v", got)
	}
	t.Logf("%+v", got)
}

func TestLsTellsOfPerfEventArrays(t *testing.T) {
	if testing.Short() {
		return // mapiter's test counts them on every kernel
	}
	for range 2 {
		testenv.Map(t, &ebpf.MapSpec{Name: "perf_events", Type: ebpf.PerfEventArray})
	}
	for _, format := range []string{"table", "json"} {
		cmd := rbtool(t, "ls", "-o", format)
		var notes bytes.Buffer
		cmd.Stderr = &notes
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		told := regexp.MustCompile(`(?m)^note: [0-9]+ perf event arrays, which rbtool does not read$`).Match(notes.Bytes())
		if told != (format == "table") || bytes.Contains(out, []byte("perf_events")) {
			t.Errorf("ls -o %s: notes %q and\n%s", format, &notes, out)
		}
	}
}

func TestInspectAdvises(t *testing.T) {
	m, path := pinnedRing(t, 1<<20)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, err := consumer.NewReader(m, consumer.Options{Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, stop := context.WithCancel(t.Context())
	var flow sync.WaitGroup
	flow.Go(func() {
		// With Fast, the program writes only the first 8 bytes.
		for ctx.Err() == nil {
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Reserve, Fast: true, Size: 2048, Seq: 0x4041424344454647, Count: 50}); err != nil {
				t.Error(err)
			}
			for range r.Pass(0) {
			}
		}
	})
	var got watchedFor
	for _, long := range []string{"300ms", "3s", "30s"} { // until enough records were seen
		if got = inspectFor(t, path, long); got.Advice != "" {
			break
		}
	}
	stop()
	flow.Wait()
	if !strings.HasPrefix(got.Advice, "records of 2,048 bytes end in ") {
		t.Errorf("advice %q", got.Advice)
	}
}
