package command

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/capture"
)

// Section returns what captures of this host say about it and about rbtool. What it cannot find out stays empty.
func Section() capture.Section {
	s := capture.Section{Application: "rbtool " + Version()}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.Host.BootID = strings.TrimSpace(string(id))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		s.Host.Name = unix.ByteSliceToString(name.Nodename[:])
		s.Host.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
		s.Host.Machine = unix.ByteSliceToString(name.Machine[:])
	}
	return s
}
