// Package host provides the commands that show the maps of this host: ls, inspect, top and exporter.
package host

import "github.com/spf13/cobra"

// Commands returns the commands of this package.
func Commands() []*cobra.Command {
	return []*cobra.Command{newLs(), newInspect(), newTop(), newExporter()}
}
