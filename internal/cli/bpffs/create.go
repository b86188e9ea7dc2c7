package bpffs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/pin"
)

func newCreate() *cobra.Command {
	return command.Group("create", "Create a map and pin it",
		"  rbtool create ringbuf --pin /sys/fs/bpf/events --size 1MiB",
		newCreateRing(), newCreateUserRing(), newCreateArena())
}

// createOptions are the flags that all create commands have.
type createOptions struct {
	pin    string
	name   string
	size   command.Size
	mode   fileMode
	output *command.Choice
}

func (o *createOptions) flags(cmd *cobra.Command, sizeHelp string) {
	o.mode = 0o600
	o.output = command.OutputFlag(cmd, "table", "json")
	f := cmd.Flags()
	f.StringVar(&o.pin, "pin", "", "pin the map to this path on a bpffs")
	f.Var(&o.size, "size", sizeHelp)
	f.StringVar(&o.name, "name", "", "name the map, with up to 15 of A-Z a-z 0-9 _ . (default: from PATH)")
	f.Var(&o.mode, "mode", "give the pin these permissions, in octal")
	_ = cmd.MarkFlagRequired("pin")
	_ = cmd.MarkFlagRequired("size")
}

// bpf_obj_name_cpy (kernel/bpf/syscall.c) defines which names a map can have. BPF_OBJ_NAME_LEN is 16:
// 15 bytes and a NUL.
var (
	validName  = regexp.MustCompile(`^[A-Za-z0-9_.]{1,15}$`)
	notInAName = regexp.MustCompile(`[^A-Za-z0-9_.]`)
)

// checkName checks --name. If the flag is not given, it derives the name from the path of the pin.
func (o *createOptions) checkName(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("name") {
		o.name = notInAName.ReplaceAllString(filepath.Base(o.pin), "_")
		o.name = o.name[:min(len(o.name), 15)]
	}
	if !validName.MatchString(o.name) {
		return command.Usagef("create %s: --name %q: a map's name is 1 to 15 of A-Z a-z 0-9 _ and .", cmd.Name(), o.name)
	}
	return nil
}

// pinNew pins a new map of size bytes and prints it. If it cannot pin or print, it leaves no pin.
func (o *createOptions) pinNew(w io.Writer, m *ebpf.Map, size uint64) error {
	path, err := filepath.Abs(o.pin)
	if err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	dirs := bpffs.MissingParents(path)
	if err := pin.Map(m, path, pin.Options{Mode: fs.FileMode(o.mode)}); err != nil {
		return err
	}
	err = printCreated(w, m, size, path, o.output.Value == "json")
	if command.Spoiled(err) {
		err = errors.Join(err, pin.Remove(path))
		command.RemoveDirs(dirs)
	}
	return err
}

// created is the JSON output of create. Scripts rely on its member names.
type created struct {
	ID       ebpf.MapID `json:"id"`
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Bytes    uint64     `json:"bytes"`
	Pin      string     `json:"pin"`
	Flags    uint32     `json:"flags"`
	MapExtra uint64     `json:"map_extra"`
}

func printCreated(w io.Writer, m *ebpf.Map, size uint64, path string, asJSON bool) error {
	info, err := m.Info()
	if err != nil {
		return fmt.Errorf("describe %q: %w", path, err)
	}
	id, _ := info.ID()
	extra, _ := info.MapExtra()
	c := created{
		ID: id, Name: info.Name, Type: maptype.Name(info.Type), Bytes: size,
		Pin: path, Flags: info.Flags, MapExtra: extra,
	}
	if asJSON {
		return command.PrintJSON(w, c)
	}
	return command.PrintTable(w, [][]string{
		strings.Fields("ID TYPE NAME SIZE PIN"),
		{fmt.Sprint(c.ID), c.Type, c.Name, command.FormatSize(c.Bytes), c.Pin},
	})
}

// fileMode is a flag for permission bits.
type fileMode fs.FileMode

func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n == 0 {
		return errors.New("not permission bits in octal, such as 0640")
	}
	*m = fileMode(n)
	return nil
}

func (m *fileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }
func (m *fileMode) Type() string   { return "octal" }
