package command

import (
	"runtime/debug"
)

// Version returns the module's version that the go command recorded in the binary: a tag, or a
// pseudo-version that names the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
