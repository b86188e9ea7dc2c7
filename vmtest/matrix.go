package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rbtool/rbtool/vmtest/kernels"
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
	ctx, stop := context.WithCancel(ctx)
	var fetching sync.WaitGroup
	defer fetching.Wait()
	defer stop() // what is being fetched for a run that cannot be
	fetching.Go(func() { h.fetchKernels(ctx) })
	r := report.Report{Date: time.Now(), Kernels: make([]report.Kernel, len(h.kernels))}
	r.Complete = !slices.ContainsFunc(h.known.Of(kernels.Architectures[:1]), func(k string) bool { return !slices.Contains(h.kernels, k) })
	for _, f := range h.known.Features {
		r.Features = append(r.Features, f.Name)
		if f.Host {
			r.Host = append(r.Host, f.Name)
		}
	}
	if err := h.runKernels(ctx, &r); err != nil {
		return report.Report{}, err
	}
	if ctx.Err() != nil {
		return report.Report{}, ctx.Err()
	}
	if !h.anySkip {
		report.JudgeRun(&r)
	}
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
		_, _ = h.kernel(ctx, name)
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

// prepared is what the kernels of one architecture share.
type prepared struct {
	runner vm.Runner
	suites []suite
}

// archOf returns the architecture of the kernel with a name of the command line. For a kernel that
// cannot be had it returns any: its run fails.
func (h *host) archOf(ctx context.Context, name string) string {
	if n, err := kernels.ParseName(name); err == nil {
		return n.Arch
	}
	k, err := h.kernel(ctx, name)
	if err != nil {
		return runtime.GOARCH
	}
	return k.Arch
}

// prepare compiles the tests for architectures.
func (h *host) prepare(ctx context.Context, archs []string) (map[string]prepared, error) {
	all := map[string]prepared{}
	for _, arch := range archs {
		if _, done := all[arch]; done {
			continue
		}
		runner, err := h.newRunner(ctx, arch)
		if err != nil {
			return nil, err
		}
		suites, err := h.build(ctx, arch)
		if err != nil {
			return nil, err
		}
		all[arch] = prepared{runner, suites}
	}
	return all, nil
}

// runKernels runs the tests on the kernels, several kernels at a time. It starts with the newest
// kernels, whose runs take longest because more features are tested.
func (h *host) runKernels(ctx context.Context, r *report.Report) error {
	archs := make([]string, len(h.kernels))
	for i, name := range h.kernels {
		archs[i] = h.archOf(ctx, name)
	}
	parts, err := h.prepare(ctx, archs)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, h.parallel)
	var all sync.WaitGroup
	for i, name := range slices.Backward(h.kernels) {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			part := parts[archs[i]]
			k := kernelRun{host: h, runner: part.runner, suites: part.suites}
			r.Kernels[i] = k.run(ctx, name)
		})
	}
	all.Wait()
	return nil
}

// line prints a line of progress: the result of one package on one kernel.
func (h *host) line(kernel string, p report.Package) {
	if p.State == report.NoTests {
		return
	}
	fmt.Printf("%-8s %-13s %s: %d passed, %d failed, %d skipped, %v\n", kernel, p.State, p.Path, p.Pass, p.Fail, p.Skip, p.Elapsed.Round(10*time.Millisecond))
}
