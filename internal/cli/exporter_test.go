package cli

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
)

// startExporter starts rbtool exporter and returns its address. When the test ends it stops the
// exporter, which must exit with status 0.
func startExporter(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, append([]string{"exporter", "--listen", "127.0.0.1:0"}, args...), io.Discard, w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if s := <-status; s != command.StatusDone {
			t.Errorf("exit status %d", s)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			go io.Copy(io.Discard, r)
			return url
		}
	}
	t.Fatal("the exporter does not listen")
	return ""
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

// metric returns the value of a metric for a ring, or false if the scrape does not have it.
func metric(t *testing.T, scrape, name, ring string) (float64, bool) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^rbtool_` + name + `\{[^}]*name="` + ring + `"[^}]*\} (\S+)$`).FindStringSubmatch(scrape)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}

func TestExporter(t *testing.T) {
	testenv.NoLeaks(t)
	defer http.DefaultClient.CloseIdleConnections()
	const name = "exported_ring"
	ring := testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.RingBuf, MaxEntries: 65536})
	p, err := producer.Load(ring)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	produce := func(count uint64) {
		if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: count, Size: 24}); err != nil {
			t.Fatal(err)
		}
	}
	produce(10)
	url := startExporter(t, "--interval", "10ms")
	// until scrapes until the metric has the value want, and returns that scrape.
	until := func(metricName string, want float64) string {
		t.Helper()
		for ; ; command.Pause(t.Context(), lookAgain) {
			scrape := get(t, url)
			if got, ok := metric(t, scrape, metricName, name); ok && got == want {
				return scrape
			}
		}
	}
	scrape := until("ring_produced_bytes_total", 320)
	for what, want := range map[string]float64{"ring_capacity_bytes": 65536, "ring_backlog_bytes": 320, "ring_consumed_bytes_total": 0, "map_info": 1} {
		if got, ok := metric(t, scrape, what, name); !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", what, got, ok, want)
		}
	}
	produce(2000)
	scrape = until("ring_produced_bytes_total", 2010*32)
	if got, _ := metric(t, scrape, "ring_high_water_bytes", name); got != 2010*32 {
		t.Errorf("high water %v", got)
	}
	for stuck := false; !stuck; command.Pause(t.Context(), lookAgain) {
		seconds, _ := metric(t, get(t, url), "ring_stuck_seconds", name)
		stuck = seconds > 0
	}
	checkPages(t, url)
	id := mapID(t, ring)
	p.Close()
	ring.Close()
	for ; ; command.Pause(t.Context(), lookAgain) {
		if _, ok := metric(t, get(t, url), "map_info", name); !ok {
			break
		}
	}
	if m, err := ebpf.NewMapFromID(id); err == nil {
		m.Close()
		t.Error("the map lives on")
	}
}

// checkPages checks what the exporter serves besides the metrics of maps.
func checkPages(t *testing.T, url string) {
	t.Helper()
	if text := get(t, strings.Replace(url, "/metrics", "/healthz", 1)); text != "ok\n" {
		t.Errorf("health %q", text)
	}
	if !regexp.MustCompile(`(?m)^rbtool_build_info\{goversion="go1\..*",revision=".*",version=".+"\} 1$`).MatchString(get(t, url)) {
		t.Errorf("no build info in\n%s", get(t, url))
	}
	if page := get(t, strings.TrimSuffix(url, "metrics")); !strings.Contains(page, `href="/metrics"`) {
		t.Errorf("page %q", page)
	}
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

func TestExporterWhosePortIsTaken(t *testing.T) {
	url := startExporter(t)
	address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")
	var stderr strings.Builder
	status := run(t.Context(), []string{"exporter", "--listen", address}, io.Discard, &stderr)
	want := "rbtool: exporter: listen on " + address + ": bind: address already in use\nhint: another process listens there (ss -ltnp); choose another port with --web.listen-address\n"
	if status != command.StatusFailed || stderr.String() != want {
		t.Errorf("status %d, %s", status, stderr.String())
	}
}
