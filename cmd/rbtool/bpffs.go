package main

import "github.com/spf13/cobra"

// bpffsCommands returns the commands of this family.
func bpffsCommands() []*cobra.Command { return []*cobra.Command{newCreate(), newPin(), newUnpin()} }
