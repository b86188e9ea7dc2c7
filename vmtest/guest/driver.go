package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/feature"
)

// Run is the driver, which the first process starts. It carries out the plan in the directory dir
// and appends events to a file there.
func Run(dir string) error {
	var plan Plan
	text, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if err := settle(plan.Modules); err != nil {
		return fmt.Errorf("set up guest: %w", err)
	}
	events, err := os.OpenFile(filepath.Join(dir, EventsFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	defer events.Close()
	d := driver{dir: dir, report: json.NewEncoder(events), env: append(environment(), moduleOptions(plan.Modules)...)}
	if err := d.up(); err != nil {
		return err
	}
	if plan.Shell != "" {
		if err := d.shell(plan.Shell); err != nil {
			return err
		}
	}
	if err := d.runAll(plan.Binaries); err != nil {
		return err
	}
	if plan.Probe {
		if err := d.send(Event{Features: features()}); err != nil {
			return err
		}
	}
	return d.send(Event{Done: true})
}

func features() map[string]string {
	missing := map[string]string{}
	for _, f := range feature.All() {
		missing[f.Name] = ""
		if err := f.Have(); err != nil {
			missing[f.Name] = err.Error()
		}
	}
	return missing
}

type driver struct {
	dir    string
	report *json.Encoder
	env    []string // of what it runs
}

func (d *driver) send(e Event) error {
	if err := d.report.Encode(e); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

func (d *driver) up() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return fmt.Errorf("read uptime: %w", err)
	}
	up := Up{Release: unix.ByteSliceToString(name.Release[:]), Uptime: time.Duration(since.Nano())}
	return d.send(Event{Up: &up})
}

func (d *driver) runAll(binaries []Binary) error {
	if len(binaries) == 0 {
		return nil
	}
	out, err := openOutput(filepath.Join(d.dir, OutputFile))
	if err != nil {
		return err
	}
	defer out.port.Close()
	if err := adopt(); err != nil {
		return err
	}
	for i, b := range binaries {
		if err := d.run(i, b, out); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) run(index int, b Binary, out output) error {
	from, err := out.written()
	if err != nil {
		return err
	}
	if err := d.send(Event{Start: &Start{Binary: index, From: from}}); err != nil {
		return err
	}
	begin := time.Now()
	exit := execute(b, d.env, out.port)
	exit.Elapsed = time.Since(begin)
	if err := killDescendants(); err != nil { // afterwards no process writes output
		return err
	}
	to, err := out.written()
	if err != nil {
		return err
	}
	exit.Bytes = to - from
	return d.send(Event{Exit: &exit})
}

// execute runs b until it ends, and kills it at its limit.
func execute(b Binary, env []string, out *os.File) Exit {
	path, err := local(b.Path)
	if err != nil {
		return Exit{Code: -1, Error: err.Error()}
	}
	defer os.Remove(path)
	cmd := exec.Command(path, b.Args...)
	cmd.Dir, cmd.Env = b.Dir, slices.Concat(env, b.Env)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return Exit{Code: -1, Error: err.Error()}
	}
	group := -cmd.Process.Pid
	fired := make(chan struct{})
	limit := time.AfterFunc(b.Limit, func() {
		unix.Kill(group, unix.SIGKILL)
		close(fired)
	})
	err = cmd.Wait()
	late := !limit.Stop()
	if late {
		<-fired
	}
	return ending(cmd.ProcessState, err, late)
}

// local copies a binary into a memory file system and returns its path. If it ran from the host's
// directory, every process would load each page through the file server.
func local(path string) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join("/tmp", filepath.Base(path)), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return out.Name(), errors.Join(err, out.Close())
}

func ending(state *os.ProcessState, err error, late bool) Exit {
	exit := Exit{Code: state.ExitCode(), TimedOut: late}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		exit.Signal = unix.SignalName(status.Signal())
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		exit.Error = err.Error()
	}
	return exit
}

func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8", "TERM=linux"}
}

func (d *driver) shell(device string) error {
	tty, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	defer tty.Close()
	cmd := exec.Command("/bin/bash")
	cmd.Env, cmd.Dir = d.env, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	var failed *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
		return fmt.Errorf("run shell: %w", err)
	}
	return nil
}
