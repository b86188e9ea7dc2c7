package command

import (
	"runtime/debug"
)

// version is the module's, as the go command recorded it: a tag or a
// pseudo-version that names the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
