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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/userprod"
)

// TestRealPrometheus makes a Prometheus server scrape the exporter, with TLS and a password, and runs all queries of the
// dashboard. It needs prometheus and promtool in PATH: make deploy-check installs them.
func TestRealPrometheus(t *testing.T) {
	const flowing, stuck = "prom_flowing", "prom_stuck"
	flow(t, flowing)
	full := testenv.Map(t, &ebpf.MapSpec{Name: stuck, Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	fill(t, full, 200)
	overwrites := overwritingRing(t)
	holdElsewhere(t, testenv.Map(t, &ebpf.MapSpec{Name: "prom_held", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}), "")

	ca, dir := newAuthority(t), t.TempDir()
	ca.writeServer(t, dir)
	web := writeWebConfig(t, dir, "")
	refuse(t, "prom_refused")
	flags := []string{"--interval", "200ms", "--web.config.file", web}
	var absent []string // parts of the names of metrics that there are none of here
	if !overwrites {
		absent = append(absent, "overwritten")
	}
	if missing("drops") == nil {
		flags = append(flags, "--drops")
	} else {
		absent = append(absent, "failed_reservations", "rbtool_drops")
	}
	exporter := startExporter(t, flags...)
	server := startPrometheus(t, dir, strings.TrimSuffix(strings.TrimPrefix(exporter, "https://"), "/metrics"))
	// A rate exists only after two scrapes.
	waitFor(t, func() bool {
		result := server.query(t, fmt.Sprintf(`rate(rbtool_ring_produced_bytes_total{name=%q}[10s]) > 0`, flowing))
		return len(result) == 1
	})

	variables := strings.NewReplacer("$instance", ".*", "$ring", ".*", "$__rate_interval", "10s")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			result := server.query(t, variables.Replace(target.Expr))
			if len(result) == 0 && !slices.ContainsFunc(absent, func(part string) bool { return strings.Contains(target.Expr, part) }) {
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
	server.checkHistograms(t, stuck)

	promtool(t, "", "check", "rules", "rbtool.rules.yml")
	promtool(t, "", "test", "rules", "rbtool.rules.test.yml")
	promtool(t, "", "check", "web-config", web)
	promtool(t, get(t, startExporter(t)), "check", "metrics")
}

// promtool runs promtool in the directory of the rules.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = filepath.Dir(rulesFile)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
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

// refuse creates a user ring whose producer has refused samples.
func refuse(t *testing.T, name string) {
	t.Helper()
	p, err := userprod.New(testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.UserRingbuf, MaxEntries: uint32(os.Getpagesize())}), userprod.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	for p.TryWrite(make([]byte, 100)) == nil {
	}
}

// overwritingRing creates a ring in overwrite mode. It returns false if the kernel does not support that
// mode.
func overwritingRing(t *testing.T) bool {
	t.Helper()
	const overwriteFlag = mapflag.RBOverwrite
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "prom_overwrite", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize, Flags: overwriteFlag})
	if err != nil {
		return false
	}
	t.Cleanup(func() { m.Close() })
	fill(t, m, 1000)
	return true
}

// promServer is a running Prometheus server.
type promServer struct{ url string }

// startPrometheus starts a Prometheus server that scrapes target every second until the test ends. The certificate of
// target's authority is in dir.
func startPrometheus(t *testing.T, dir, target string) promServer {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: rbtool, scheme: https, tls_config: {ca_file: ca.pem}, "+
		"basic_auth: {username: prometheus, password: %q}, static_configs: [{targets: [%q]}]}]\n", rules, password, target)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", address,
		"--enable-feature=native-histograms")
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
	waitFor(t, func() bool {
		resp, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// waitFor waits until a condition holds. No event tells when.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		command.Pause(t.Context(), 10*lookAgain)
	}
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
	waitFor(t, evaluated)
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

// checkHistograms checks that the server has the native histogram of a full ring.
func (s promServer) checkHistograms(t *testing.T, full string) {
	t.Helper()
	expr := fmt.Sprintf(`histogram_quantile(0.5, rbtool_ring_sampled_fill_ratio{name=%q}) > 0.7`, full)
	if result := s.query(t, expr); len(result) != 1 {
		t.Errorf("%s: %v", expr, result)
	}
}
