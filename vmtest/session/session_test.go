package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/session"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// script is a fake runner: instead of a machine it runs a function of the test, which writes the
// guest's events.
type script func(ctx context.Context, m vm.Machine) error

func (script) Name() string { return "script" }

func (s script) Run(ctx context.Context, m vm.Machine) error { return s(ctx, m) }

// bounds are the time limits of Exec: of the boot, of a binary, and the grace.
type bounds struct{ boot, limit, grace time.Duration }

// patient has limits that no script reaches, for scripts that end by themselves.
var patient = bounds{time.Minute, time.Minute, time.Minute}

func exec(t *testing.T, s script, b bounds) (session.Result, error) {
	t.Helper()
	dir := t.TempDir()
	driver := filepath.Join(dir, "driver")
	if err := os.WriteFile(driver, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	plan := guest.Plan{Binaries: []guest.Binary{{Path: "/a", Limit: b.limit}}}
	r, err := session.Exec(t.Context(), plan, session.Options{
		Runner: s, Driver: driver, Dir: dir, Boot: b.boot, Grace: b.grace,
	})
	left, globErr := filepath.Glob(dir + "/vm-*")
	if globErr != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, globErr)
	}
	return r, err
}

// say appends events to the events file. For each start of a binary it also appends output to the
// output file.
func say(m vm.Machine, events ...guest.Event) error {
	for _, e := range events {
		if e.Start != nil {
			if err := add(filepath.Join(m.Shared, guest.OutputFile), "PASS\n"); err != nil {
				return err
			}
		}
	}
	return report(m, events...)
}

// report appends events to the events file.
func report(m vm.Machine, events ...guest.Event) error {
	var text []byte
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	return add(filepath.Join(m.Shared, guest.EventsFile), string(text))
}

func add(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

var (
	up    = guest.Event{Up: &guest.Up{Release: "6.12.0"}}
	start = guest.Event{Start: &guest.Start{}}
	exit  = guest.Event{Exit: &guest.Exit{Bytes: 5}}
	done  = guest.Event{Done: true}
)

func TestAPlanThatIsCarriedOut(t *testing.T) {
	r, err := exec(t, func(_ context.Context, m vm.Machine) error { return say(m, up, start, exit, done) }, patient)
	if err != nil || r.Died != nil || len(r.Runs) != 1 || r.Runs[0].Bytes != 5 || r.Runs[0].Exit == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// If the guest has completed its plan, an error of the runner is ignored.
func TestTheGuestHasTheLastWord(t *testing.T) {
	r, err := exec(t, func(_ context.Context, m vm.Machine) error {
		return errors.Join(say(m, up, start, exit, done), errors.New("exit status 255"))
	}, patient)
	if err != nil || r.Died != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestADeathIsNamedByItsCause(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	hangs := map[string]bounds{
		"VM did not come up within 1s":  {time.Second, time.Minute, time.Minute},
		"guest hung: no event for 50ms": {time.Minute, 20 * time.Millisecond, 30 * time.Millisecond},
	}
	for want, s := range map[string]script{
		"guest panic: oops": func(_ context.Context, m vm.Machine) error {
			return errors.Join(say(m, up, start), add(m.Console, "[ 1.0] Kernel panic - not syncing: oops\r\n"))
		},
		"guest rebooted": func(_ context.Context, m vm.Machine) error {
			return errors.Join(say(m, up, start), add(m.Console, "[ 1.0] reboot: Restarting system\r\n"))
		},
		"guest powered off": func(_ context.Context, m vm.Machine) error {
			return errors.Join(say(m, up, start), add(m.Console, "[ 1.0] reboot: Power down\r\n"))
		},
		"driver in the guest: mount: no": func(_ context.Context, m vm.Machine) error {
			return add(m.Console, "vmtest: mount: no\r\n[ 1.0] reboot: Power down\r\n")
		},
		"VM did not come up within 1s": func(ctx context.Context, _ vm.Machine) error { return hang(ctx) },
		"guest hung: no event for 50ms": func(ctx context.Context, m vm.Machine) error {
			return errors.Join(say(m, up, start), hang(ctx))
		},
		"VM did not come up: no qemu":                         func(context.Context, vm.Machine) error { return errors.New("no qemu") },
		"VM ended before it came up":                          func(context.Context, vm.Machine) error { return nil },
		"VM reset or ended without a message from the kernel": func(_ context.Context, m vm.Machine) error { return say(m, up) },
		"VM died: read events: binary 7 started out of order": func(_ context.Context, m vm.Machine) error {
			return say(m, up, guest.Event{Start: &guest.Start{Binary: 7}})
		},
		"VM died: read events: output of binary 0 starts at byte -1, before 0": func(_ context.Context, m vm.Machine) error {
			return say(m, up, guest.Event{Start: &guest.Start{From: -1}})
		},
	} {
		b, ok := hangs[want]
		if !ok {
			b = patient
		}
		r, err := exec(t, s, b)
		if err != nil || r.Died == nil || r.Died.What != want {
			t.Errorf("want %q, got %+v, %v", want, r.Died, err)
		}
	}
}

// All output that the guest wrote before its death is read.
func TestOutputOutlivesTheGuest(t *testing.T) {
	r, err := exec(t, func(_ context.Context, m vm.Machine) error { return say(m, up, start) }, patient)
	if err != nil || r.Died == nil || len(r.Runs) != 1 || r.Runs[0].Bytes != 5 || r.Runs[0].Exit != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// Output that leftover processes write between two binaries belongs to neither.
func TestEachBinaryHasItsPartOfTheOutput(t *testing.T) {
	dir := t.TempDir()
	var got []string
	r, err := session.Exec(t.Context(), guest.Plan{Binaries: make([]guest.Binary, 2)}, session.Options{
		Driver: "/proc/self/exe", Dir: dir,
		Event: func(e guest.Event) {
			if e.Start != nil {
				got = append(got, "")
			}
		},
		Output: func(p []byte) { got[len(got)-1] += string(p) },
		Runner: script(func(_ context.Context, m vm.Machine) error {
			return errors.Join(
				add(filepath.Join(m.Shared, guest.OutputFile), "firstnoisesecond"),
				report(m, up, start, guest.Event{Exit: &guest.Exit{Bytes: 5}},
					guest.Event{Start: &guest.Start{Binary: 1, From: 10}}, guest.Event{Exit: &guest.Exit{Bytes: 6}}, done))
		}),
	})
	if err != nil || r.Died != nil || len(r.Runs) != 2 || r.Runs[0].Bytes != 5 || r.Runs[1].Bytes != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff([]string{"first", "second"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// An incomplete last line of a dead guest is not an event.
func TestHalfAnEventIsNone(t *testing.T) {
	r, err := exec(t, func(_ context.Context, m vm.Machine) error {
		return errors.Join(say(m, up, start), add(filepath.Join(m.Shared, guest.EventsFile), `{"Exit":{"Co`))
	}, patient)
	if err != nil || r.Died == nil || r.Runs[0].Exit != nil || strings.Contains(r.Died.What, "events") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTheEndOfTheContextEndsTheMachine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := false
	_, err := session.Exec(ctx, guest.Plan{}, session.Options{
		Driver: "/proc/self/exe", Dir: t.TempDir(),
		Runner: script(func(ctx context.Context, _ vm.Machine) error {
			cancel()
			<-ctx.Done()
			ended = true
			return ctx.Err()
		}),
	})
	if !errors.Is(err, context.Canceled) || !ended {
		t.Errorf("%v, ended %t", err, ended)
	}
}
