package command

import (
	"runtime/debug"
)

// Version returns the version of the module that the go command recorded: a tag, or a pseudo-version
// that names the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
