package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/metrics"
)

func newExporter() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exporter",
		Short: "Serve metrics of every ring of this host to Prometheus",
		Long: `Serve metrics of every ring of this host on http://ADDRESS/metrics: bytes produced
and consumed, backlog, capacity, high water, time at saturation, and what is stuck.
Rings are sampled at --interval, independently of scrapes, so that what happens between two
scrapes is counted. Nothing on the host is changed.

deploy/ has a Grafana dashboard, alert rules, a systemd unit and a Kubernetes DaemonSet.`,
		Example: "  rbtool exporter\n  rbtool exporter --listen :9435 --interval 5s",
		Args:    cobra.NoArgs,
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:9435", "listen on this address, HOST:PORT")
	every := command.Interval{Value: time.Second, Least: shortestInterval}
	cmd.Flags().Var(&every, "interval", "sample at this interval, at least "+shortestInterval.String())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkAddress(*listen); err != nil {
			return command.Usagef("exporter: --listen %s: %w", *listen, err)
		}
		return export(cmd.Context(), cmd.ErrOrStderr(), *listen, every.Value)
	}
	return cmd
}

// checkAddress returns an error if address is not of the form HOST:PORT.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("not an address HOST:PORT such as 127.0.0.1:9435 or :9435")
	}
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > 65535 {
		return fmt.Errorf("port %q is not a number up to 65535", port)
	}
	return nil
}

// export samples the host at an interval and serves the metrics until ctx is done.
func export(ctx context.Context, stderr io.Writer, address string, interval time.Duration) error {
	s := inspect.NewSampler(inspect.SamplerOptions{Options: inspect.Options{SkipPrograms: true, SkipPins: true}})
	defer s.Close()
	collector := metrics.NewCollector()
	// Take a sample before listening: if sampling is not permitted, fail at once.
	first, err := takeSample(s, collector)
	if err != nil {
		return fmt.Errorf("exporter: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("exporter: %w", listenError(address, err))
	}
	printNotes(stderr, first.Notes)
	fmt.Fprintf(stderr, "listening on http://%s/metrics\n", l.Addr())
	srv := &http.Server{
		Handler:           routes(collector),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		srv.Shutdown(grace)
	})
	defer stop()
	beat, end := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		keepSampling(beat, stderr, s, collector, interval)
	}()
	defer func() { end(); <-sampled }()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("exporter: %w", err)
	}
	return nil // the user stopped the exporter
}

// listenError replaces the text of a net.OpError by one with address, and adds a hint.
func listenError(address string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	err = fmt.Errorf("listen on %s: %w", address, err)
	if errors.Is(err, unix.EADDRINUSE) {
		return command.WithHint(err, "another process listens there (ss -ltnp); choose another port with --listen")
	}
	return err
}

func takeSample(s *inspect.Sampler, c *metrics.Collector) (*inspect.Report, error) {
	began := time.Now()
	sample, err := s.Sample()
	c.Update(sample, err, time.Since(began))
	return sample, err
}

// keepSampling takes a sample at each interval until ctx is done. It prints a line when sampling starts
// to fail and when it works again.
func keepSampling(ctx context.Context, stderr io.Writer, s *inspect.Sampler, c *metrics.Collector, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := takeSample(s, c)
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

func routes(c *metrics.Collector) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>rbtool exporter</title><p>rbtool exporter: <a href=\"/metrics\">metrics</a></p>\n")
	})
	return mux
}
