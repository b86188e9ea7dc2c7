package command

import "runtime/debug"

// Set by make dist with the linker's flag -X.
var version, commit string

// Version returns the version of rbtool: that of the release, or else that of the module as the go
// command recorded it.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Commit returns the hash of the commit that rbtool was built from, or "" if it is unknown.
func Commit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
