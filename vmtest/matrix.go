package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rbtool/rbtool/vmtest/report"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// matrix runs all packages on all kernels and writes the reports.
func (h *host) matrix(ctx context.Context) (int, error) {
	r, err := h.runAll(ctx)
	if err != nil {
		return 2, err
	}
	if err := errors.Join(r.Text(os.Stdout), writeFile(h.json, r.JSON), writeFile(h.markdown, r.Markdown)); err != nil {
		return 2, err
	}
	if !r.OK() {
		return 1, nil
	}
	return 0, nil
}

// runAll runs all packages on all kernels and returns the report.
func (h *host) runAll(ctx context.Context) (report.Report, error) {
	runner, err := h.newRunner(ctx)
	if err != nil {
		return report.Report{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait()
	defer stop() // what is being fetched for a run that cannot be
	fetching.Go(func() { h.fetchKernels(ctx) })
	suites, err := h.build(ctx)
	if err != nil {
		return report.Report{}, err
	}
	r := report.Report{Date: time.Now(), Kernels: make([]report.Kernel, len(h.kernels))}
	r.Complete = !slices.ContainsFunc(h.known.Series, func(s string) bool { return !slices.Contains(h.kernels, s) })
	for _, f := range h.known.Features {
		r.Features = append(r.Features, f.Name)
		if f.Host {
			r.Host = append(r.Host, f.Name)
		}
	}
	h.runKernels(ctx, runner, suites, &r)
	if ctx.Err() != nil {
		return report.Report{}, ctx.Err()
	}
	report.JudgeRun(&r)
	return r, nil
}

// fetchKernels fetches kernels that the cache lacks, while tests are compiled and the first
// machines run. It ignores errors: [kernelRun.run] tries to fetch the kernel again, and reports the
// error.
func (h *host) fetchKernels(ctx context.Context) {
	if h.refresh {
		return // each then is looked for once more
	}
	for _, name := range slices.Backward(h.kernels) {
		_, _ = h.store.Named(ctx, name)
	}
}

func writeFile(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// runKernels runs the tests on the kernels, several kernels at a time. It starts with the newest
// kernels, whose runs take longest because more features are tested.
func (h *host) runKernels(ctx context.Context, runner vm.Runner, suites []suite, r *report.Report) {
	slots := make(chan struct{}, h.parallel)
	var all sync.WaitGroup
	for i, name := range slices.Backward(h.kernels) {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			k := kernelRun{host: h, runner: runner, suites: suites}
			r.Kernels[i] = k.run(ctx, name)
		})
	}
	all.Wait()
}

// line prints a line of progress: the result of one package on one kernel.
func (h *host) line(kernel string, p report.Package) {
	if p.State == report.NoTests {
		return
	}
	fmt.Printf("%-8s %-13s %s: %d passed, %d failed, %d skipped, %v\n", kernel, p.State, p.Path, p.Pass, p.Fail, p.Skip, p.Elapsed.Round(10*time.Millisecond))
}
