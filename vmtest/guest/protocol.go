// Package guest is the part of vmtest that runs inside a virtual machine: its first process,
// and the driver that runs test binaries and reports their ends.
//
// Host and guest share one directory, [Dir] in the guest. The host writes a [Plan] there; the
// guest appends [Event]s, one JSON object a line, to a file beside it. All binaries write to
// a port ([OutputPort]), whose data go to another file. Start and exit events delimit the output
// of each binary, so that truncated output is detected.
package guest

import "time"

const (
	// Dir is the mount point of the shared directory in the guest. It exists on Debian and Ubuntu,
	// and virtme-ng mounts nothing above it.
	Dir = "/media"
	// PlanFile has the Plan, in the shared directory.
	PlanFile = "plan.json"
	// EventsFile has the events, in the shared directory.
	EventsFile = "events"
	// OutputFile has the output of all binaries, in the shared directory.
	OutputFile = "output"
	// OutputPort is the name of the virtio serial port whose data the host appends to OutputFile
	// before the write to the port returns.
	OutputPort = "vmtest.output"
	// DriverFile is this program, in the shared directory.
	DriverFile = "vmtest"
	// Command is the argument that makes DriverFile the driver.
	Command = "in-guest"
)

// Plan is the work of one boot.
type Plan struct {
	// Probe requests the features of the kernel, after all binaries: no test waits for it.
	Probe bool
	// Modules is a directory with lib/modules of the kernel, or empty. session.Exec sets it.
	Modules string
	// Shell is a terminal device on which to run a shell instead of Binaries.
	Shell string
	// Binaries are run in turn, also after failures.
	Binaries []Binary
}

// Binary is one run of a test binary.
type Binary struct {
	// Path and Dir are the binary and its working directory, in the guest.
	Path, Dir string
	Args, Env []string
	// Limit is the time after which the binary and its descendants are killed.
	Limit time.Duration
}

// Event is a line of the guest's report; exactly one field is set.
type Event struct {
	Up    *Up    `json:",omitempty"`
	Start *Start `json:",omitempty"`
	Exit  *Exit  `json:",omitempty"`
	// Features maps the name of each feature to why it is missing, "" if it is present.
	Features map[string]string `json:",omitempty"`
	// Done is the last event: the plan was carried out.
	Done bool `json:",omitempty"`
}

// Up reports that the guest has booted.
type Up struct {
	// Release is that of uname(2).
	Release string
	// Uptime is the time since the kernel started.
	Uptime time.Duration
}

// Start reports the start of a binary.
type Start struct {
	// Binary is its index in the plan.
	Binary int
	// From is the offset of its output in OutputFile, in bytes.
	From int64
}

// Exit reports the end of the binary that started last.
type Exit struct {
	// Code is the exit status, -1 if a signal killed the binary or it could not be started.
	Code int
	// Signal is the name of the signal that killed the binary.
	Signal string `json:",omitempty"`
	// TimedOut means that the driver killed it at its limit.
	TimedOut bool `json:",omitempty"`
	// Error tells why the binary could not be started or awaited.
	Error string `json:",omitempty"`
	// Bytes is the length of its output.
	Bytes   int64
	Elapsed time.Duration
}
