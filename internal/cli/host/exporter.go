package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/metrics"
)

// exporterOptions are the flags of exporter.
type exporterOptions struct {
	listenOptions
	interval command.Interval
	drops    bool
}

func newExporter() *cobra.Command {
	opts := exporterOptions{interval: command.Interval{Value: time.Second, Least: shortestInterval}}
	cmd := &cobra.Command{
		Use:   "exporter",
		Short: "Serve metrics of every ring of this host to Prometheus",
		Long: `Serve metrics of every ring of this host on http://ADDRESS/metrics: bytes produced
and consumed, backlog, capacity, high water, time at saturation, and what is stuck.
Rings are sampled at --interval, independently of scrapes, so that what happens between two
scrapes is counted. Nothing on the host is changed.

/healthz answers with status 200 if the last sample succeeded, and with 503 and the reason if
it failed. --web.config.file names a file of the Prometheus exporter toolkit that configures
TLS, client certificates and passwords:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

With --drops, the reservations that fail are counted too, by program: records that are lost. That
costs every reservation on the host some time, which a note says and a metric has. If this kernel
lets nothing count them, the status is 3. docs/drops.md says more.

deploy/ has a Grafana dashboard, alert rules, systemd units and a Kubernetes DaemonSet.`,
		Example: "  rbtool exporter\n  rbtool exporter --web.listen-address :9435 --interval 5s\n" +
			"  rbtool exporter --web.listen-address :9435 --web.config.file /etc/rbtool/web.yml",
		Args: cobra.NoArgs,
	}
	opts.addTo(cmd)
	cmd.Flags().Var(&opts.interval, "interval", "sample at this interval, at least "+shortestInterval.String())
	cmd.Flags().BoolVar(&opts.drops, "drops", false, dropsHelp)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := opts.check(); err != nil {
			return command.Usagef("exporter: %w", err)
		}
		if err := opts.run(cmd.Context(), cmd.ErrOrStderr()); err != nil {
			return fmt.Errorf("exporter: %w", err)
		}
		return nil
	}
	return cmd
}

// run samples the host at an interval and serves the metrics until ctx is done.
func (o *exporterOptions) run(ctx context.Context, stderr io.Writer) (err error) {
	scheme, err := o.scheme()
	if err != nil {
		return err
	}
	s := inspect.NewSampler(inspect.SamplerOptions{Options: inspect.Options{SkipPrograms: true, SkipPins: true}})
	defer s.Close()
	e := newExported(o.interval.Value)
	// Take a sample before listening: if sampling is not permitted, fail at once.
	first, err := e.takeSample(s)
	if err != nil {
		return err
	}
	if o.drops {
		if e.losses, err = countLosses(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.losses.Close()) }()
		if err := e.readLosses(); err != nil {
			return err
		}
	}
	listeners, err := o.listen(ctx)
	if err != nil {
		return err
	}
	printNotes(stderr, first.Notes)
	if o.drops {
		e.losses.announce(stderr)
	}
	for _, l := range listeners {
		fmt.Fprintf(stderr, "listening on %s://%s/metrics\n", scheme, l.Addr())
	}
	beat, end := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		e.keepSampling(beat, stderr, s)
	}()
	defer func() { end(); <-sampled }()
	return o.serve(ctx, stderr, listeners, e.routes())
}

// exported has what the exporter serves.
type exported struct {
	collector *metrics.Collector
	interval  time.Duration
	losses    *lossCounter // nil without --drops; used by one goroutine at a time
	lossesAt  time.Time    // when they were last read

	mu   sync.Mutex
	last time.Time // when the last sample was taken
	err  error     // why the last sample failed
}

func newExported(interval time.Duration) *exported {
	return &exported{collector: metrics.NewCollector(), interval: interval}
}

func (e *exported) takeSample(s *inspect.Sampler) (*inspect.Report, error) {
	began := time.Now()
	sample, err := s.Sample()
	e.collector.Update(sample, err, time.Since(began))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.err = time.Now(), err
	return sample, err
}

// lossesEvery is the shortest time between two readings of losses, which take longer than a sample.
const lossesEvery = time.Second

// readLosses reads the failed reservations, if they are counted and were not read just now.
func (e *exported) readLosses() error {
	if e.losses == nil || time.Since(e.lossesAt) < lossesEvery {
		return nil
	}
	now, err := e.losses.read()
	if err != nil {
		return err
	}
	e.lossesAt = time.Now()
	e.collector.UpdateLosses(now)
	return nil
}

// keepSampling takes a sample at each interval until ctx is done. It prints a line when sampling starts
// to fail and when it works again.
func (e *exported) keepSampling(ctx context.Context, stderr io.Writer, s *inspect.Sampler) {
	tick := time.NewTicker(e.interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := e.takeSample(s)
		if err == nil {
			err = e.readLosses()
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				command.PrintError(stderr, fmt.Errorf("exporter: %w", err))
			} else {
				command.Note(stderr, "exporter: samples succeed again")
			}
		}
	}
}

// health returns why the metrics are not those of now, or nil.
func (e *exported) health(now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	// A sample that does not end is a fault too.
	const grace = 30 * time.Second
	if age := now.Sub(e.last); age > e.interval+grace {
		return fmt.Errorf("the last sample is %v old", age.Round(time.Second))
	}
	return nil
}

func (e *exported) routes() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(e.collector, buildInfo(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := e.health(time.Now()); err != nil {
			http.Error(w, escape.String(err.Error()), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><title>rbtool exporter</title><p>rbtool exporter: `+
			`<a href="/metrics">metrics</a>, <a href="/healthz">health</a></p>`+"\n")
	})
	return mux
}

// buildInfo returns a metric whose labels say which rbtool this is.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rbtool_build_info", Help: "The version of rbtool that exports these metrics.",
		ConstLabels: prometheus.Labels{"version": command.Version(), "revision": command.Commit(), "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}
