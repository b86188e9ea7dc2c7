package ring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/internal/cli/command"
)

func newDrainStop() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "stop --pin-dir DIR",
		Short: "Stop a pinned drain and remove its pins",
		Long: `Stop a drain that --pin-dir left running, and remove its pins. Samples that the target
has no room for stay in the user ring.

If another program drains the same user ring at the same time, a sample may be set aside
while the target is full. Stopping the drain would lose that sample, so it continues
unless --force is given.`,
		Example: "  rbtool drain stop --pin-dir /sys/fs/bpf/drain",
		Args:    cobra.NoArgs,
	}
	dir := drainDirFlag(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "stop even if that loses a sample that is set aside")
	cmd.RunE = func(*cobra.Command, []string) error {
		err := drain.Remove(*dir, force)
		if errors.Is(err, drain.ErrAside) {
			return command.WithHint(err, "the drain continues; read the target to make room, or stop it with --force and lose the sample")
		}
		return explainNoDrain("stop", *dir, err)
	}
	return cmd
}

// explainNoDrain replaces the error of a command for a directory without a pinned drain.
func explainNoDrain(verb, dir string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = command.WithStatus(fmt.Errorf("%s drain: no drain is pinned in %q", verb, dir), command.StatusNotFound)
	return command.WithHint(err, "rbtool drain MAP --to MAP --pin-dir DIR leaves one running")
}

// drainDirFlag adds the required flag --pin-dir.
func drainDirFlag(cmd *cobra.Command) *string {
	dir := cmd.Flags().String("pin-dir", "", "use the drain pinned in this directory")
	_ = cmd.MarkFlagRequired("pin-dir")
	return dir
}

func newDrainStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status --pin-dir DIR",
		Short: "Show the counts of a pinned drain",
		Long: `Show the counts of a drain that --pin-dir left running: samples drained and delivered,
samples too large for the target, and how often the target was full, the user ring empty,
another run in progress, or the user ring malformed.`,
		Example: "  rbtool drain status --pin-dir /sys/fs/bpf/drain -o json",
		Args:    cobra.NoArgs,
	}
	dir := drainDirFlag(cmd)
	output := command.OutputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return drainStatus(cmd.OutOrStdout(), *dir, output.Value == "json")
	}
	return cmd
}

// drainCounts are the counts of a drain in the JSON output. Scripts rely on its names.
type drainCounts struct {
	Runs           uint64 `json:"runs"`
	Samples        uint64 `json:"samples"`
	Bytes          uint64 `json:"bytes"`
	Delivered      uint64 `json:"delivered"`
	DeliveredBytes uint64 `json:"delivered_bytes"`
	TooLarge       uint64 `json:"too_large"`
	Full           uint64 `json:"full"`
	Empty          uint64 `json:"empty"`
	Contended      uint64 `json:"contended"`
	Busy           uint64 `json:"busy"`
	Invalid        uint64 `json:"invalid"`
	TooBig         uint64 `json:"too_big"`
	Failed         uint64 `json:"failed"`
}

func drainStatus(w io.Writer, dir string, asJSON bool) error {
	d, err := drain.Open(dir)
	if err != nil {
		return explainNoDrain("show", dir, err)
	}
	defer d.Close()
	s, err := d.Stats()
	if err != nil {
		return err
	}
	if asJSON {
		doc := struct {
			Dir       string        `json:"pin_dir"`
			Every     int64         `json:"every_ns"`
			MaxSample uint32        `json:"max_sample"`
			Aside     bool          `json:"aside"`
			Len       uint32        `json:"aside_bytes"`
			Counts    drainCounts   `json:"counts"`
			PerCPU    []drainCounts `json:"per_cpu"`
		}{dir, int64(s.Every), d.MaxSample(), s.Aside, s.Len, drainCounts(s.Counts), nil}
		for _, c := range s.PerCPU {
			doc.PerCPU = append(doc.PerCPU, drainCounts(c))
		}
		return command.PrintJSON(w, doc)
	}
	every, aside := "-", "-"
	if s.Every > 0 {
		every = s.Every.Round(time.Microsecond).String()
	}
	if s.Aside {
		aside = fmt.Sprintf("a sample of %d bytes", s.Len)
	}
	return command.PrintTable(w, [][]string{
		{"every", every},
		{"samples", fmt.Sprintf("%d (%d bytes)", s.Samples, s.Bytes)},
		{"delivered", fmt.Sprintf("%d (%d bytes)", s.Delivered, s.DeliveredBytes)},
		{"too large", fmt.Sprint(s.TooLarge)},
		{"aside", aside},
		{"runs", fmt.Sprintf("%d, %d found nothing, %d the target full", s.Runs, s.Empty, s.Full)},
		{"refused", fmt.Sprintf("%d by another run, %d by another program", s.Contended, s.Busy)},
		{"errors", fmt.Sprintf("%d EINVAL, %d E2BIG, %d others", s.Invalid, s.TooBig, s.Failed)},
	})
}
