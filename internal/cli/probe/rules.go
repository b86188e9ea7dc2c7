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
		newProbeRule(proctrace.Watch, "Trace this, and nothing else that is not watched", `Make the tracer write the events of a process and its children, of what has a
name, or of a cgroup, and leave out those of everything that is not watched. It
takes effect in the kernel, and is acknowledged by a record in the events. A pid means
the process that has it now, not one that gets it later.`),
		newProbeRule(proctrace.Ignore, "Do not trace this", `Make the tracer leave out the events of a process and its children, of what has a
name, or of a cgroup, watched or not. It takes effect in the kernel, and is
acknowledged by a record in the events.`),
		newProbeRule(proctrace.Forget, "Take back a watch or an ignore", `Make the tracer forget what it was told about a process, a name or a cgroup. What
is ignored by another rule stays so.`),
		newProbeReset(),
	}
}

func newProbeRule(action proctrace.Action, short, long string) *cobra.Command {
	var about subjectFlags
	cmd := &cobra.Command{
		Use:     action.String() + " --pid PID | --comm NAME | --cgroup DIR",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf("  rbtool probe proctrace %[1]v --comm make\n  rbtool probe proctrace %[1]v --cgroup /sys/fs/cgroup/system.slice", action),
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
		name := "probe proctrace " + cmd.Name()
		switch {
		case f.Changed("pid") && about.pid == 0:
			return command.Usagef("%s: --pid 0: not a process", name)
		case f.Changed("comm") && (about.comm == "" || len(about.comm) > 15):
			return command.Usagef("%s: --comm %q: a name has 1 to 15 bytes", name, about.comm)
		}
		subject, err := about.subject()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return commandTracer(*dir, action, subject)
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
		return commandTracer(*dir, proctrace.Reset, proctrace.Subject{})
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

// commandTracer sends a command to the tracer pinned in dir.
func commandTracer(dir string, action proctrace.Action, about proctrace.Subject) error {
	dir, err := tracerDir(dir)
	if err != nil {
		return err
	}
	t, err := proctrace.Open(dir)
	if err != nil {
		return err
	}
	defer t.Close()
	err = t.Command(action, about)
	if busy, ok := errors.AsType[*userprod.BusyError](err); ok {
		err = fmt.Errorf("probe proctrace %s: commands are written by %s", action, command.DescribePID(busy.PID))
		return command.WithStatus(err, command.StatusBusy)
	}
	if errors.Is(err, proctrace.ErrNoRule) {
		return command.WithStatus(fmt.Errorf("probe proctrace %w", err), command.StatusNotFound)
	}
	if err != nil {
		return fmt.Errorf("probe proctrace %w", err)
	}
	return nil
}
