package main

import "github.com/spf13/cobra"

// hostCommands returns the commands of this family.
func hostCommands() []*cobra.Command {
	return []*cobra.Command{newLs(), newInspect(), newTop(), newExporter()}
}
