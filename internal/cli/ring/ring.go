// Package ring has the commands for the records and samples of rings: tail, record, replay, produce,
// drain, drops and forward.
package ring

import "github.com/spf13/cobra"

// Commands returns the commands of this package.
func Commands() []*cobra.Command {
	return []*cobra.Command{newTail(), newRecord(), newReplay(), newProduce(), newDrain(), newDrops(), newForward()}
}
