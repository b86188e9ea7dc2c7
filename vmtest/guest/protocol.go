// Package guest is the part of vmtest that runs inside a virtual machine: its first process,
// and the driver that runs test binaries and reports their ends.
//
// Host and guest share one directory, [Dir] in the guest. The host writes a [Plan] there; the guest
// appends [Event]s, one JSON object a line, to a file beside it. All binaries write to a serial
// port ([OutputPort]), whose data the host appends to another file. Start and exit events say where
// the output of each binary begins and ends there, so that truncated output is detected.
package guest

import "time"

const (
	// Dir is the mount point of the shared directory in the guest. Debian and Ubuntu have this
	// directory, and virtme-ng mounts nothing on it or its parents.
	Dir = "/media"
	// PlanFile is the file with the [Plan] as JSON, in the shared directory.
	PlanFile = "plan.json"
	// EventsFile is the file with the events, in the shared directory.
	EventsFile = "events"
	// OutputFile is the file with the output of all binaries, in the shared directory.
	OutputFile = "output"
	// OutputPort is the name of the virtio serial port whose data the host appends to OutputFile
	// before the write to the port returns.
	OutputPort = "vmtest.output"
	// DriverFile is the file with the program vmtest, in the shared directory.
	DriverFile = "vmtest"
	// Command is the argument with which vmtest runs as the driver.
	Command = "in-guest"
)

// Plan is the work of one boot.
type Plan struct {
	// Probe makes the driver probe the features of the kernel, after all binaries, so that no test
	// waits for that.
	Probe bool
	// Modules is a directory that contains lib/modules of the kernel, or empty. session.Exec sets
	// it.
	Modules string
	// Shell, if set, is a terminal device. The driver runs a shell on it instead of Binaries.
	Shell string
	// Binaries are run one after another, also after one has failed.
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

// Event is one line of the events file. Exactly one field is set.
type Event struct {
	Up    *Up    `json:",omitempty"`
	Start *Start `json:",omitempty"`
	Exit  *Exit  `json:",omitempty"`
	// Features maps the name of each feature to the reason why it is missing, or to "" if it is
	// present.
	Features map[string]string `json:",omitempty"`
	// Done is the last event: the plan has been carried out.
	Done bool `json:",omitempty"`
}

// Up reports that the guest has booted.
type Up struct {
	// Release is the kernel's release according to uname(2).
	Release string
	// Uptime is the time from the start of the kernel to this report.
	Uptime time.Duration
}

// Start reports the start of a binary.
type Start struct {
	// Binary is the index of the binary in Plan.Binaries.
	Binary int
	// From is the offset in OutputFile at which the binary's output begins, in bytes.
	From int64
}

// Exit reports the end of the binary that started last.
type Exit struct {
	// Code is the exit status, -1 if a signal killed the binary or it could not be started.
	Code int
	// Signal is the name of the signal that killed the binary.
	Signal string `json:",omitempty"`
	// TimedOut means that the driver killed the binary at its time limit.
	TimedOut bool `json:",omitempty"`
	// Error tells why the driver could not start the binary or wait for it.
	Error string `json:",omitempty"`
	// Bytes is the length of the binary's output.
	Bytes   int64
	Elapsed time.Duration
}
