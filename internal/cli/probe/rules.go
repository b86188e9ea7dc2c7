package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/userprod"
)

// newRules returns the commands that tell a running tracer which processes to trace.
func newRules() []*cobra.Command {
	return []*cobra.Command{
		newRule("watch", (*proctrace.Tracer).Watch, "Trace only what is watched", `Add a process and its children, a name, or a cgroup to what the tracer watches. While
anything is watched, only events of what is watched are written. The rule applies in the
kernel, and a record among the events acknowledges it. --pid means the process that has
the pid now, not a later one.`),
		newRule("ignore", (*proctrace.Tracer).Ignore, "Stop tracing a process, a name or a cgroup", `Leave out the events of a process and its children, of a name, or of a cgroup, even if
they are watched. The rule applies in the kernel, and a record among the events
acknowledges it.`),
		newRule("forget", (*proctrace.Tracer).Forget, "Remove a watch or ignore rule", `Remove the rule about a process, a name or a cgroup. Other rules stay.`),
		newReset(),
	}
}

// ruleFunc sends a tracer a command about a subject.
type ruleFunc func(*proctrace.Tracer, proctrace.Subject) error

func newRule(name string, send ruleFunc, short, long string) *cobra.Command {
	var about subjectFlags
	cmd := &cobra.Command{
		Use:     name + " --pid PID | --comm NAME | --cgroup DIR",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf("  rbtool probe proctrace %[1]v --comm make\n  rbtool probe proctrace %[1]v --cgroup /sys/fs/cgroup/system.slice", name),
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	f := cmd.Flags()
	f.Uint32Var(&about.pid, "pid", 0, "select a process and its children")
	f.StringVar(&about.comm, "comm", "", "select tasks by name, as in events: up to 15 bytes")
	f.StringVar(&about.cgroup, "cgroup", "", "select a cgroup by directory, or by id as in events; not the cgroups below it")
	cmd.MarkFlagsOneRequired("pid", "comm", "cgroup")
	cmd.MarkFlagsMutuallyExclusive("pid", "comm", "cgroup")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		what := "probe proctrace " + name
		switch {
		case f.Changed("pid") && about.pid == 0:
			return command.Usagef("%s: --pid 0: not a process", what)
		case f.Changed("comm") && (about.comm == "" || len(about.comm) > 15):
			return command.Usagef("%s: --comm %q: a name has 1 to 15 bytes", what, about.comm)
		}
		subject, err := about.subject()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return commandTracer(*dir, name, func(t *proctrace.Tracer) error { return send(t, subject) })
	}
	return cmd
}

func newReset() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Remove all rules, so that everything is traced",
		Example: "  rbtool probe proctrace reset",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return commandTracer(*dir, "reset", (*proctrace.Tracer).Reset)
	}
	return cmd
}

// subjectFlags are the flags that select the processes to which a rule applies.
type subjectFlags struct {
	pid          uint32
	comm, cgroup string
}

func (s *subjectFlags) subject() (proctrace.Subject, error) {
	about := proctrace.Subject{PID: s.pid, Comm: s.comm}
	if s.cgroup == "" {
		return about, nil
	}
	if id, err := strconv.ParseUint(s.cgroup, 10, 64); err == nil && id > 0 {
		about.CgroupID = id
		return about, nil
	}
	var err error
	about.CgroupID, err = cgroupID(s.cgroup)
	return about, err
}

// cgroupID returns the id of the cgroup whose directory is dir: the directory's inode number.
func cgroupID(dir string) (uint64, error) {
	var where unix.Statfs_t
	var st unix.Stat_t
	err := unix.Statfs(dir, &where)
	if err == nil {
		err = unix.Stat(dir, &st)
	}
	if err != nil {
		return 0, &fs.PathError{Op: "--cgroup", Path: dir, Err: err}
	}
	if where.Type != unix.CGROUP2_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("--cgroup %s: not a directory of the cgroup v2 hierarchy", dir)
	}
	return st.Ino, nil
}

// commandTracer calls send for the tracer pinned in dir. name is the command's name in errors.
func commandTracer(dir, name string, send func(*proctrace.Tracer) error) error {
	dir, err := tracerDir(dir)
	if err != nil {
		return err
	}
	t, err := proctrace.Open(dir)
	if err != nil {
		return err
	}
	defer t.Close()
	err = send(t)
	if busy, ok := errors.AsType[*userprod.BusyError](err); ok {
		err = fmt.Errorf("probe proctrace %s: the tracer is busy: %s is sending commands", name, command.DescribePID(busy.PID))
		return command.WithStatus(err, command.StatusBusy)
	}
	if err != nil {
		return fmt.Errorf("probe proctrace %w", err)
	}
	return nil
}
