package main

import "github.com/spf13/cobra"

// ringCommands returns the commands of this family.
func ringCommands() []*cobra.Command {
	return []*cobra.Command{newTail(), newRecord(), newReplay(), newProduce(), newDrain()}
}
