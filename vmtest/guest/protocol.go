// Package guest is the part of vmtest that runs inside a virtual machine: its first
// process, and the driver that runs test binaries and says what became of them.
//
// Host and guest share one directory, [Dir] in the guest. The host puts a
// [Plan] there; the guest appends [Event]s, one JSON object a line, to a file
// beside it. The output of the binaries is in a file there too, all in one, which
// gets what they write to a port ([OutputPort]). A start and an exit say which part
// is whose, so that a truncated one is seen.
package guest

import "time"

const (
	// Dir is where the shared directory is mounted in the guest. It exists on
	// Debian and Ubuntu, and virtme-ng mounts nothing above it.
	Dir = "/media"
	// PlanFile holds the Plan, in the shared directory.
	PlanFile = "plan.json"
	// EventsFile holds the events, in the shared directory.
	EventsFile = "events"
	// OutputFile holds the output of all binaries, in the shared directory.
	OutputFile = "output"
	// OutputPort is the name of the virtio serial port whose data the host appends to
	// OutputFile before the write to the port returns.
	OutputPort = "vmtest.output"
	// DriverFile is this program, in the shared directory.
	DriverFile = "vmtest"
	// Command is the argument with which DriverFile becomes the driver.
	Command = "in-guest"
)

// Plan is what one boot is for.
type Plan struct {
	// Probe asks for the features of the kernel, when all has run: no test waits for it.
	Probe bool
	// Modules is the tree, with lib/modules, of the kernel's modules; "" for none.
	// session.Exec sets it.
	Modules string
	// Shell is a terminal device on which to run a shell instead of Binaries.
	Shell string
	// Binaries are run in turn, whatever becomes of those before.
	Binaries []Binary
}

// Binary is one run of a test binary.
type Binary struct {
	// Path and Dir are the binary and its working directory, in the guest.
	Path, Dir string
	Args, Env []string
	// Limit ends the binary, and what it started, when it runs longer.
	Limit time.Duration
}

// Event is one line of what the guest reports; exactly one field is set.
type Event struct {
	Up    *Up    `json:",omitempty"`
	Start *Start `json:",omitempty"`
	Exit  *Exit  `json:",omitempty"`
	// Features maps the name of each probed feature to why it is missing, ""
	// where it is there.
	Features map[string]string `json:",omitempty"`
	// Done is the last event: all that the plan asked for was tried.
	Done bool `json:",omitempty"`
}

// Up says that the guest has booted, and into what.
type Up struct {
	// Release is that of uname(2).
	Release string
	// Uptime is how long the kernel had been running.
	Uptime time.Duration
}

// Start says that a binary begins.
type Start struct {
	// Binary is its index in the plan.
	Binary int
	// From is where its output begins in OutputFile, in bytes.
	From int64
}

// Exit says how the binary that started last ended.
type Exit struct {
	// Code is the exit status, -1 for a binary that a signal killed or that
	// could not be started.
	Code int
	// Signal is the name of the signal that killed the binary.
	Signal string `json:",omitempty"`
	// TimedOut says that the driver killed it at its limit.
	TimedOut bool `json:",omitempty"`
	// Error is why the binary could not be started or awaited.
	Error string `json:",omitempty"`
	// Bytes is the length of its output.
	Bytes   int64
	Elapsed time.Duration
}
