package conform

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// ruleLimit is the time after which a rule counts as hung. The slowest rules take one or two seconds on
// an emulated machine.
const ruleLimit = 30 * time.Second

// patience is how long a rule waits for asynchronous work of the kernel, such as a grace period or
// a worker.
const patience = 10 * time.Second

// Run tests the rules one after the other. If each is not nil, Run calls it with every result. If ctx
// is canceled, Run returns the results so far.
func Run(ctx context.Context, rules []Rule, each func(Result)) []Result {
	var results []Result
	for _, r := range rules {
		if ctx.Err() != nil {
			return results
		}
		res := test(ctx, r, bpf{}, patience)
		results = append(results, res)
		if each != nil {
			each(res)
		}
	}
	return results
}

// test runs one rule's check on its own goroutine and thread. A check that hangs is left running,
// and its result says so.
func test(ctx context.Context, r Rule, k kernel, patience time.Duration) Result {
	t := &T{k: k, patience: patience, result: Result{Rule: r, Verdict: Yes}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.clean()
		r.check(t)
	}()
	timer := time.NewTimer(ruleLimit)
	defer timer.Stop()
	select {
	case <-done:
		return t.result
	case <-ctx.Done():
		<-done // wait for the cleanups
		return t.result
	case <-timer.C:
		return Result{Rule: r, Verdict: Differs, Detail: fmt.Sprintf("the test has not ended after %v", ruleLimit)}
	}
}

// T is the state of a rule's test, through which the test uses the kernel. Only the test's own goroutine
// may call methods that end the test.
type T struct {
	k        kernel
	patience time.Duration
	result   Result
	cleanups []func()
}

// cleanup registers f to be called at the end of the test, in reverse order of registration.
func (t *T) cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *T) clean() {
	for len(t.cleanups) > 0 {
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		f()
	}
}

func (t *T) end(v Verdict, feature, detail string) {
	t.result.Verdict, t.result.Feature, t.result.Detail = v, feature, detail
	runtime.Goexit() // runs the cleanups
}

// missing ends the test because the kernel lacks the feature. err is the error that shows it.
func (t *T) missing(feature string, err error) {
	t.end(NotSupported, feature, err.Error())
}

// no ends the test because the kernel does what kernels without this promise do. The text describes it.
func (t *T) no(format string, args ...any) { t.end(No, "", fmt.Sprintf(format, args...)) }

// differs ends the test because the kernel did what no kernel is known to do. The text describes it.
func (t *T) differs(format string, args ...any) { t.end(Differs, "", fmt.Sprintf(format, args...)) }

// must ends the test if err is not nil: a step that the test depends on failed.
func (t *T) must(err error, format string, args ...any) {
	if err != nil {
		t.differs("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// equal ends the test unless got equals want.
func equal[V comparable](t *T, what string, got, want V) {
	if got != want {
		t.differs("%s: %v, want %v", what, got, want)
	}
}

// within ends the test unless got is at least least and at most most.
func (t *T) within(what string, got, least, most int64) {
	if got < least || got > most {
		t.differs("%s: %d, want %d to %d", what, got, least, most)
	}
}
