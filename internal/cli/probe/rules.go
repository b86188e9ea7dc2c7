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

// newProbeRules are the commands that tell a running tracer what to trace.
func newProbeRules() []*cobra.Command {
	return []*cobra.Command{
		newProbeRule("watch", (*proctrace.Tracer).Watch, "Trace this, and nothing else that is not watched", `Make the tracer write the events of a process and its children, of what has a
name, or of a cgroup, and leave out those of everything that is not watched. It
takes effect in the kernel, and is acknowledged by a record in the events. A pid means
the process that has it now, not one that gets it later.`),
		newProbeRule("ignore", (*proctrace.Tracer).Ignore, "Do not trace this", `Make the tracer leave out the events of a process and its children, of what has a
name, or of a cgroup, watched or not. It takes effect in the kernel, and is
acknowledged by a record in the events.`),
		newProbeRule("forget", (*proctrace.Tracer).Forget, "Take back a watch or an ignore", `Make the tracer forget what it was told about a process, a name or a cgroup. What
is ignored by another rule stays so.`),
		newProbeReset(),
	}
}

// ruleFunc gives a tracer a command about a subject.
type ruleFunc func(*proctrace.Tracer, proctrace.Subject) error

func newProbeRule(name string, send ruleFunc, short, long string) *cobra.Command {
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
	f.Uint32Var(&about.pid, "pid", 0, "a process and its children")
	f.StringVar(&about.comm, "comm", "", "the name of a task, as in its events: up to 15 bytes")
	f.StringVar(&about.cgroup, "cgroup", "", "a cgroup: its directory, or its id as in events; not the cgroups below")
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

func newProbeReset() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Trace everything again",
		Example: "  rbtool probe proctrace reset",
		Args:    cobra.NoArgs,
	}
	dir := pinDirFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return commandTracer(*dir, "reset", (*proctrace.Tracer).Reset)
	}
	return cmd
}

// subjectFlags are the flags that say who a rule is about.
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

// cgroupID is the id of the cgroup whose directory is dir: its inode's number.
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

// commandTracer sends the command with a name to the tracer pinned in dir.
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
		err = fmt.Errorf("probe proctrace %s: commands are written by %s", name, command.DescribePID(busy.PID))
		return command.WithStatus(err, command.StatusBusy)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return command.WithStatus(fmt.Errorf("probe proctrace %w", err), command.StatusNotFound)
	}
	if err != nil {
		return fmt.Errorf("probe proctrace %w", err)
	}
	return nil
}
