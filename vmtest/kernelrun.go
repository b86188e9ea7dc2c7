package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/kernels"
	"github.com/rbtool/rbtool/vmtest/report"
	"github.com/rbtool/rbtool/vmtest/session"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// kernelRun runs all suites on one kernel and collects the results.
type kernelRun struct {
	*host
	runner vm.Runner
	suites []suite

	result report.Kernel
	todo   []int // indices of suites to run, in order
	output bytes.Buffer
	done   int // how many of todo have ended in this boot
	probed bool
}

// run runs the suites on the kernel with this name. It reports errors as problems in the result.
func (k *kernelRun) run(ctx context.Context, name string) report.Kernel {
	begin := time.Now()
	k.result = report.Kernel{Name: name, Runner: k.runner.Name(), Features: map[string]string{}}
	for i, s := range k.suites {
		p := report.Package{Path: s.path, State: report.NotRun}
		switch {
		case s.failure != "":
			p.State = report.BuildFailed
			k.problem(report.Problem{Package: s.path, What: "build failed", Detail: s.failure})
		case s.binary == "":
			p.State = report.NoTests
		default:
			k.todo = append(k.todo, i)
		}
		k.result.Packages = append(k.result.Packages, p)
	}
	if err := k.boots(ctx, name); err != nil {
		k.problem(report.Problem{What: err.Error()})
	}
	report.JudgeFeatures(&k.result)
	if !k.anySkip {
		report.JudgeSkips(&k.result)
	}
	k.result.Elapsed = time.Since(begin)
	return k.result
}

func (k *kernelRun) problem(p report.Problem) { k.result.Problems = append(k.result.Problems, p) }

// boots boots the machine until all packages and the probe have run: if the machine dies in a
// package, the next boot continues with the package after it.
func (k *kernelRun) boots(ctx context.Context, name string) error {
	kernel, err := k.kernel(ctx, name)
	if err != nil {
		return err
	}
	machine, err := k.newMachine(ctx, kernel)
	if err != nil {
		return err
	}
	k.result.Accel = string(machine.Accel)
	k.result.Required, k.result.Absent = k.known.Required(kernel.Listed), k.known.Absent(kernel.Listed)
	for _, s := range k.suites {
		addShare(&machine, moduleRoot(s.dir), false)
	}
	for len(k.todo) > 0 || !k.probed {
		left := len(k.todo)
		if err := k.boot(ctx, kernel, machine); err != nil {
			return err
		}
		if len(k.todo) == left {
			return nil // the machine died before any package ended: it would die again
		}
	}
	return nil
}

// boot boots the machine once and runs the remaining packages until all have ended or the machine
// dies.
func (k *kernelRun) boot(ctx context.Context, kernel kernels.Kernel, machine vm.Machine) error {
	driver, err := k.driver(ctx, kernel.Arch)
	if err != nil {
		return err
	}
	plan := guest.Plan{Probe: !k.probed}
	files := map[string]string{}
	for _, i := range k.todo {
		name := fmt.Sprintf("%d.test", i)
		files[name] = k.suites[i].binary
		plan.Binaries = append(plan.Binaries, guest.Binary{
			Path: filepath.Join(guest.Dir, name),
			Dir:  k.suites[i].dir,
			Args: k.testArgs(),
			Env:  k.environment(kernel),
			// Longer than -test.timeout, at which the testing package prints the goroutines and
			// exits.
			Limit: k.limit + 10*time.Second,
		})
	}
	k.done = 0
	var failed error
	r, err := session.Exec(ctx, plan, session.Options{
		Runner: k.runner, Machine: machine, Driver: driver, Files: files, Dir: k.dir.path(), Grace: k.grace, Boot: k.bootLimit,
		Event: func(e guest.Event) {
			if err := k.event(ctx, e); err != nil && failed == nil {
				failed = err
			}
		},
		Output: func(p []byte) {
			k.output.Write(p)
			if k.verbose {
				os.Stdout.WriteString(report.Plain(p))
			}
		},
	})
	if err != nil || failed != nil {
		return fmt.Errorf("run: %w", cmp.Or(err, failed))
	}
	if k.result.Boot == 0 {
		k.result.Boot = r.Boot
	}
	if r.Died != nil {
		if err := k.died(ctx, r); err != nil {
			return err
		}
	}
	k.todo = k.todo[k.done:]
	return nil
}

func (k *kernelRun) testArgs() []string {
	args := []string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + k.limit.String()}
	if !k.full {
		args = append(args, "-test.short")
	}
	if k.options.run != "" {
		args = append(args, "-test.run="+k.options.run)
	}
	return args
}

func (k *kernelRun) event(ctx context.Context, e guest.Event) error {
	switch {
	case e.Up != nil:
		k.result.Release = e.Up.Release
	case e.Features != nil:
		k.result.Features, k.probed = e.Features, true
	case e.Start != nil:
		k.output.Reset()
	case e.Exit != nil:
		end := report.End{Exit: e.Exit, Bytes: int64(k.output.Len()), Limit: k.limit}
		return k.ended(ctx, end, e.Exit.Elapsed)
	}
	return nil
}

// ended records the results of the package whose binary has ended.
func (k *kernelRun) ended(ctx context.Context, end report.End, elapsed time.Duration) error {
	i := k.todo[k.done]
	p := &k.result.Packages[i]
	tests, err := results(ctx, p.Path, k.output.Bytes())
	if err != nil {
		return err
	}
	k.done++
	p.Tests, p.Elapsed = tests, elapsed
	end.Output = report.Plain(k.output.Bytes())
	problems := report.JudgeBinary(p, end)
	k.result.Problems = append(k.result.Problems, problems...)
	k.line(k.result.Name, *p)
	for _, problem := range problems {
		fmt.Printf("%-8s %s\n", k.result.Name, problem)
	}
	return nil
}

// died records the death of the machine: as the end of the package that was running or, if none
// was, as a problem of the kernel.
func (k *kernelRun) died(ctx context.Context, r session.Result) error {
	if n := len(r.Runs); n > 0 && r.Runs[n-1].Exit == nil {
		end := report.End{Bytes: int64(k.output.Len()), Limit: k.limit, Died: r.Died.What, Console: r.Died.Console}
		return k.ended(ctx, end, 0)
	}
	k.problem(report.Problem{What: r.Died.What, Detail: r.Died.Console})
	return nil
}
