//go:build prometheus

package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
)

// TestRealPrometheus makes a Prometheus server scrape the exporter, and runs all queries of the
// dashboard. It needs prometheus and promtool in PATH:
//
//	go test -tags prometheus -run RealPrometheus ./internal/cli
func TestRealPrometheus(t *testing.T) {
	const flowing, stuck = "prom_flowing", "prom_stuck"
	flow(t, flowing)
	full := testenv.Map(t, &ebpf.MapSpec{Name: stuck, Type: ebpf.RingBuf, MaxEntries: 4096})
	fill(t, full, 200)
	overwrites := overwritingRing(t)
	holdElsewhere(t, testenv.Map(t, &ebpf.MapSpec{Name: "prom_held", Type: ebpf.RingBuf, MaxEntries: 4096}))

	exporter := startExporter(t, "--interval", "200ms")
	server := startPrometheus(t, strings.TrimSuffix(strings.TrimPrefix(exporter, "http://"), "/metrics"))
	// A rate exists only after two scrapes.
	waitFor(t, "rates", func() bool {
		result := server.query(t, fmt.Sprintf(`rate(rbtool_ring_produced_bytes_total{name=%q}[10s]) > 0`, flowing))
		return len(result) == 1
	})

	variables := strings.NewReplacer("$instance", ".*", "$ring", ".*", "$__rate_interval", "10s")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			result := server.query(t, variables.Replace(target.Expr))
			if len(result) == 0 && (overwrites || !strings.Contains(target.Expr, "overwritten")) {
				t.Errorf("panel %q: nothing for %s", p.Title, target.Expr)
			}
			t.Logf("%-40s %3d series", p.Title, len(result))
		}
	}
	if result := server.query(t, fmt.Sprintf(`rbtool_ring_unconsumed{name=%q} == 1`, stuck)); len(result) != 1 {
		t.Errorf("the ring that nobody consumes: %v", result)
	}
	if result := server.query(t, fmt.Sprintf(`increase(rbtool_ring_saturated_seconds_total{name=%q}[10s]) > 0`, stuck)); len(result) != 1 {
		t.Errorf("the full ring: %v", result)
	}
	server.checkRules(t)

	for _, args := range [][]string{{"check", "rules", "rbtool.rules.yml"}, {"test", "rules", "rbtool.rules.test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Dir(rulesFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// flow writes records into a ring and consumes them until the test ends.
func flow(t *testing.T, name string) {
	t.Helper()
	m := testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.RingBuf, MaxEntries: 1 << 16})
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := ringbuf.NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	go func() {
		for range tick.C {
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: 100, Size: 100}); err != nil {
				return
			}
			for range 100 {
				if _, err := rd.Read(); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() { tick.Stop(); rd.Close(); p.Close() })
}

func fill(t *testing.T, m *ebpf.Map, records uint64) {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: records, Size: 16}); err != nil {
		t.Fatal(err)
	}
}

// overwritingRing creates a ring in overwrite mode. It returns false if the kernel does not support that
// mode.
func overwritingRing(t *testing.T) bool {
	t.Helper()
	const overwriteFlag = mapflag.RBOverwrite
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "prom_overwrite", Type: ebpf.RingBuf, MaxEntries: 4096, Flags: overwriteFlag})
	if err != nil {
		return false
	}
	t.Cleanup(func() { m.Close() })
	fill(t, m, 1000)
	return true
}

// holdElsewhere starts a process that holds m until the test ends. The exporter runs in the test's
// process, and does not show its own process as a user.
func holdElsewhere(t *testing.T, m *ebpf.Map) {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), m.String())
	defer file.Close()
	cmd := exec.Command("cat")
	cmd.ExtraFiles = []*os.File{file}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
}

// promServer is a running Prometheus server.
type promServer struct{ url string }

// startPrometheus starts a Prometheus server that scrapes target every second until the test ends.
func startPrometheus(t *testing.T, target string) promServer {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: rbtool, static_configs: [{targets: [%q]}]}]\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", address)
	cmd.Stderr = os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s := promServer{"http://" + address}
	// The server accepts connections before it answers queries.
	waitFor(t, "the server", func() bool {
		resp, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// waitFor waits until a condition holds. No event tells when: it polls for a bounded time.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); command.Pause(t.Context(), lookAgain) {
		if done() {
			return
		}
	}
	t.Fatalf("gave up waiting for %s", what)
}

// api requests a path of the HTTP API and decodes the data of the response.
func (s promServer) api(t *testing.T, path string, data any) {
	t.Helper()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal([]byte(get(t, s.url+"/api/v1/"+path)), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v, %s", path, err, answer.Error)
	}
}

// query returns the series that an expression evaluates to.
func (s promServer) query(t *testing.T, expr string) []any {
	t.Helper()
	var data struct{ Result []any }
	s.api(t, "query?query="+url.QueryEscape(expr), &data)
	return data.Result
}

// checkRules checks that the server evaluates each alert rule, and that the alert for the ring without a
// consumer is pending.
func (s promServer) checkRules(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, State, LastError string }
		}
	}
	evaluated := func() bool {
		data.Groups = nil
		s.api(t, "rules", &data)
		for _, r := range data.Groups[0].Rules {
			if r.Health == "unknown" {
				return false
			}
		}
		return true
	}
	waitFor(t, "the rules", evaluated)
	for _, r := range data.Groups[0].Rules {
		t.Logf("%-30s %s %s", r.Name, r.Health, r.State)
		if r.Health != "ok" {
			t.Errorf("rule %s: %s", r.Name, r.LastError)
		}
		if r.Name == "RingUnconsumed" && r.State != "pending" {
			t.Errorf("rule %s is %s", r.Name, r.State)
		}
	}
}
