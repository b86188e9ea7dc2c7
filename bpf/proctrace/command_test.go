package proctrace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/userprod"
)

// commandable returns an attached tracer that takes commands.
func commandable(t *testing.T, copies uint32) *Tracer {
	t.Helper()
	if !haveCommands() {
		testenv.SkipWithout(t, "user_ringbuf", errors.New("no user ring buffers"))
	}
	return traceWith(t, Options{}, copies)
}

// command sends a command, and fails the test if the tracer refuses it.
func command(t *testing.T, tr *Tracer, a action, about Subject) {
	t.Helper()
	if err := tr.command(a, about); err != nil {
		t.Fatal(err)
	}
}

// runTrue runs /bin/true, in a cgroup if dir is given, and returns its pid.
func runTrue(t *testing.T, dir string) int {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if dir != "" {
		fd, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// kinds returns the types of a process's events, in order.
func kinds(events []Event, pid int) (types []string) {
	for _, e := range of(events, pid) {
		types = append(types, e.Type.String())
	}
	return types
}

// cgroup creates a cgroup, and returns its directory and its id.
func cgroup(t *testing.T) (dir string, id uint64) {
	t.Helper()
	dir, err := os.MkdirTemp(cgroup2(t), "rbtool-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return dir, st.Ino
}

// ruleTest has rules, and the events of /bin/true that are written under these rules.
type ruleTest struct {
	name          string
	rules         func(cgroup uint64) map[Subject]action
	inside, other []string // events of /bin/true in the cgroup, and in another cgroup
	onlyOurs      bool     // no event of another process is written
}

func TestRulesAreApplied(t *testing.T) {
	all := []string{"fork_event", "exec_event", "exit_event"}
	// A child has its parent's name until it execs, so its fork event does not match.
	named := []string{"exec_event", "exit_event"}
	self, bystander := uint32(os.Getpid()), uint32(sleeper(t).Process.Pid)
	tests := []ruleTest{
		{"without rules, everything", func(uint64) map[Subject]action { return nil }, all, all, false},
		{"watch a comm", func(uint64) map[Subject]action { return map[Subject]action{{Comm: "true"}: watch} }, named, named, false},
		{"ignore a comm", func(uint64) map[Subject]action { return map[Subject]action{{Comm: "true"}: ignore} }, all[:1], all[:1], false},
		{"watch a process", func(uint64) map[Subject]action { return map[Subject]action{{PID: self}: watch} }, all, all, true},
		{"watch another process", func(uint64) map[Subject]action { return map[Subject]action{{PID: bystander}: watch} }, nil, nil, true},
		{"ignore a process", func(uint64) map[Subject]action { return map[Subject]action{{PID: self}: ignore} }, nil, nil, false},
		{"watch a cgroup", func(id uint64) map[Subject]action { return map[Subject]action{{CgroupID: id}: watch} }, all, nil, true},
		{"ignore a cgroup", func(id uint64) map[Subject]action { return map[Subject]action{{CgroupID: id}: ignore} }, nil, all, false},
		{"ignore wins", func(id uint64) map[Subject]action {
			return map[Subject]action{{CgroupID: id}: ignore, {PID: self}: watch}
		}, nil, all, true},
		{"of several that are watched, each", func(id uint64) map[Subject]action {
			return map[Subject]action{{CgroupID: id}: watch, {Comm: "true"}: watch}
		}, all, named, false},
	}
	eachCopies(t, func(t *testing.T, copies uint32) {
		tr := commandable(t, copies)
		dir, id := cgroup(t)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { test.run(t, tr, dir, id) })
		}
	})
}

// run applies the rules, and runs /bin/true in the cgroup whose directory is dir and in another
// cgroup.
func (test *ruleTest) run(t *testing.T, tr *Tracer, dir string, id uint64) {
	command(t, tr, reset, Subject{})
	for subject, action := range test.rules(id) {
		command(t, tr, action, subject)
	}
	drain(t, tr)
	before := stats(t, tr)
	inside, other := runTrue(t, dir), runTrue(t, "")
	events := drain(t, tr)
	if diff := cmp.Diff(test.inside, kinds(events, inside)); diff != "" {
		t.Errorf("in the cgroup (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(test.other, kinds(events, other)); diff != "" {
		t.Errorf("in another cgroup (-want +got):\n%s", diff)
	}
	self := uint32(os.Getpid())
	for _, e := range events {
		if test.onlyOurs && e.PPID != self && e.TGID != self {
			t.Errorf("an event of another process: %+v", e)
		}
	}
	ignored := total(stats(t, tr)).Ignored - total(before).Ignored
	if want := uint64(6 - len(test.inside) - len(test.other)); ignored < want || want == 0 && ignored > 0 && len(test.rules(id)) == 0 {
		t.Errorf("%d events counted as ignored, want %d or more", ignored, want)
	}
}

// Each command is acknowledged by an Ack event, in the order of the commands.
func TestAcknowledgements(t *testing.T) {
	testenv.NoLeaks(t)
	tr := commandable(t, needed())
	quiet := Subject{PID: uint32(sleeper(t).Process.Pid)} // a process without events, so that none are between the acknowledgements
	for _, c := range []struct {
		action action
		about  Subject
		want   error
	}{
		{watch, quiet, nil}, {ignore, Subject{Comm: "fifteen letters"}, nil}, {watch, quiet, nil}, {ignore, quiet, nil},
		{watch, quiet, nil}, {forget, Subject{CgroupID: 1 << 40}, errNoRule}, {forget, Subject{Comm: "fifteen letters"}, nil},
		{reset, Subject{}, nil}, {forget, quiet, errNoRule},
	} {
		if err := tr.command(c.action, c.about); !errors.Is(err, c.want) {
			t.Errorf("%s %+v: %v, want %v", c.action, c.about, err, c.want)
		}
	}
	var got []Event
	for _, e := range drain(t, tr) {
		if e.Type == Ack {
			got = append(got, e)
		}
	}
	want := []Event{
		{Command: "watch", Subject: quiet, Rules: 1, Watches: 1},
		{Command: "ignore", Subject: Subject{Comm: "fifteen letters"}, Rules: 2, Watches: 1},
		{Command: "watch", Subject: quiet, Rules: 2, Watches: 1},
		{Command: "ignore", Subject: quiet, Rules: 2, Watches: 0},
		{Command: "watch", Subject: quiet, Rules: 2, Watches: 1},
		{Command: "forget", Subject: Subject{CgroupID: 1 << 40}, Err: errNoRule, Rules: 2, Watches: 1},
		{Command: "forget", Subject: Subject{Comm: "fifteen letters"}, Rules: 1, Watches: 1},
		{Command: "reset"},
		{Command: "forget", Subject: quiet, Err: errNoRule},
	}
	opts := cmp.Options{cmpopts.IgnoreFields(Event{}, "Type", "Ktime", "Cookie"), cmpopts.EquateErrors()}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("acknowledgements (-want +got):\n%s", diff)
	}
}

func TestTooManyRules(t *testing.T) {
	testenv.NoLeaks(t)
	tr := commandable(t, needed())
	p, err := userprod.New(tr.control.commands, userprod.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint32]error{1024: nil, 1025: errTooManyRules} {
		var samples []bpfCommand
		for i := range n {
			c, err := newCommand(ignore, Subject{CgroupID: 1<<40 + uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, c)
		}
		if _, err := userprod.TryWriteAll(p, samples); err != nil {
			t.Fatal(err)
		}
		if err := tr.control.await(samples[n-1].Cookie); !errors.Is(err, want) {
			t.Errorf("rule %d: %v, want %v", n, err, want)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	// A rule that exists can be changed although no further rule fits.
	command(t, tr, watch, Subject{CgroupID: 1 << 40})
	command(t, tr, reset, Subject{})
	if s := stats(t, tr); s.Rules != 0 || s.Watches != 0 {
		t.Errorf("after reset: %d rules, %d watch", s.Rules, s.Watches)
	}
	command(t, tr, ignore, Subject{CgroupID: 1 << 40})
}

func TestCommandsThatMakeNoSense(t *testing.T) {
	testenv.NoLeaks(t)
	tr := commandable(t, needed())
	for _, c := range []struct {
		action action
		about  Subject
	}{
		{watch, Subject{}}, {watch, Subject{PID: 1, Comm: "x"}}, {ignore, Subject{Comm: "sixteen letters!"}},
		{ignore, Subject{Comm: "a\x00b"}}, {reset, Subject{PID: 1}}, {forget, Subject{}},
	} {
		if err := tr.command(c.action, c.about); err == nil {
			t.Errorf("%s %+v was taken", c.action, c.about)
		}
	}
	p, err := userprod.New(tr.control.commands, userprod.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := tr.command(reset, Subject{}); !errors.Is(err, userprod.ErrBusy) {
		t.Errorf("while another producer writes: %v, want ErrBusy", err)
	}
}

// The timer drains samples of every writer, invalid commands too.
func TestCommandsOfOthers(t *testing.T) {
	testenv.NoLeaks(t)
	tr := commandable(t, needed())
	p, err := userprod.New(tr.control.commands, userprod.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, sample := range [][]byte{nil, make([]byte, 39), make([]byte, 40), {0: 9, 39: 0}, {0: 1, 4: 7, 39: 0}, {0: 4, 8: 77, 100: 0}} {
		if err := p.Write(t.Context(), sample); err != nil {
			t.Fatal(err)
		}
	}
	r, err := consumer.NewReader(tr.Events(), consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for len(got) < 6 {
		rec, err := r.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Decode(rec.Data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == Ack {
			got = append(got, fmt.Sprintf("%v %v %d", e.Command, e.Err, e.Cookie))
		}
	}
	want := []string{
		"command 0 invalid argument 0", "command 0 invalid argument 0", "command 0 invalid argument 0",
		"command 9 invalid argument 0", "watch invalid argument 0", "reset <nil> 77",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acknowledgements (-want +got):\n%s", diff)
	}
}

// A pinned tracer carries out commands of another process, and every reader of the ring finds the
// acknowledgements.
func TestCommandsToAPinnedTracer(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "t")
	own := commandable(t, needed())
	if err := errors.Join(own.Pin(dir), own.Close()); err != nil {
		t.Fatal(err)
	}
	defer Remove(dir)
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	command(t, tr, watch, Subject{CgroupID: 1 << 40})
	set, err := decoderOf(tr.Events())
	if err != nil {
		t.Fatal(err)
	}
	var acks []string
	consume(t, tr.Events(), func(record []byte) {
		if typ, err := typeOf(record); err != nil || typ != Ack {
			return
		}
		dec, err := set.Codec(record)
		if err != nil {
			t.Fatal(err)
		}
		text, err := dec.AppendJSON(nil, record)
		if err != nil {
			t.Fatal(err)
		}
		var ack struct {
			Type, Command, Subject string
			ID, Rules, Watches     uint64
		}
		if err := json.Unmarshal(text, &ack); err != nil {
			t.Fatal(err)
		}
		acks = append(acks, fmt.Sprint(ack))
	})
	if want := []string{"{ACK_EVENT WATCH_COMMAND CGROUP_SUBJECT 1099511627776 1 1}"}; !slices.Equal(acks, want) {
		t.Errorf("acknowledged: %q, want %q", acks, want)
	}
}

func TestWithoutUserRingsThereAreNoCommands(t *testing.T) {
	tr := &Tracer{}
	if err := tr.command(reset, Subject{}); !errors.Is(err, ebpf.ErrNotSupported) {
		t.Errorf("%v, want ErrNotSupported", err)
	}
	if tr.control != nil {
		t.Error("there is a ring")
	}
}
