package proctrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/proc"
)

// processesName is the name of the arena map and of the table in the arena.
const processesName = "processes"

// Process is an entry of the process table, as [Tracer.Processes] describes it.
type Process struct {
	PID       uint32
	PPID      uint32 // TGID of the parent at the fork
	StartTime uint64 // CLOCK_BOOTTIME, ns; a multiple of 10 ms if the process is older than the tracer
	Execs     uint64 // number of execs since the tracer started
	Comm      string
}

// Capacity and size of the table.
const (
	tableProcesses = 32 << 10
	tableBytes     = 8 << 20
)

// processTable is the part of a Tracer that maintains the process table.
type processTable struct {
	arena *arena.Arena
	table *container.Table
}

// newTable creates a table, and puts the programs that maintain it into the map of handlers, from
// slot after on.
func newTable(handlers, counters *ebpf.Map, after uint32, cache *btf.Cache) (_ *processTable, err error) {
	a, err := arena.Create(arena.Options{Name: processesName, Size: tableBytes})
	if err != nil {
		return nil, err
	}
	p := &processTable{arena: a}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	h, err := container.Format(a)
	if err != nil {
		return nil, err
	}
	var entry tableProcessEntry
	p.table, err = container.NewTable(h, processesName, container.TableOptions{
		KeySize: binary.Size(entry.Pid), ValueSize: binary.Size(entry), Capacity: tableProcesses,
	})
	if err != nil {
		return nil, err
	}
	// Allocate all pages now: the programs cannot sleep, so they cannot allocate pages.
	if err := h.Grow(tableBytes); err != nil {
		return nil, err
	}
	return p, p.load(handlers, counters, after, cache)
}

func (p *processTable) load(handlers, counters *ebpf.Map, after uint32, cache *btf.Cache) error {
	spec, err := newTableSpec()
	if err != nil {
		return err
	}
	spec.Maps[tableMapCounters].MaxEntries = counters.MaxEntries()
	c, err := loader.NewCollection(spec, loader.Options{
		Arenas: map[string]*arena.Arena{tableMapArena: p.arena}, NoVariables: true,
		Collection: ebpf.CollectionOptions{
			Cache: cache, MapReplacements: map[string]*ebpf.Map{tableMapCounters: counters},
		},
	})
	if err != nil {
		return err
	}
	defer c.Close() // the map of handlers keeps the programs
	for name, typ := range map[string]Type{tableProgTableFork: Fork, tableProgTableExec: Exec, tableProgTableExit: Exit} {
		if err := handlers.Put(after+uint32(typ), c.Programs[name]); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
	}
	return nil
}

func (p *processTable) close() error { return p.arena.Close() }

// Processes returns the arena with the process table, or nil without Options.Processes. The Tracer
// owns and closes the map. The table has the name "processes". Its keys are pids, 4 bytes in
// little-endian order; [DecodeProcess] decodes its values. Any process that opens the arena can
// read it, by [arena.Open], [container.OpenHeap] and [container.OpenTable]. It holds up to 32,768
// processes; Stats.Unlisted counts changes that found no room. If [Tracer.Attach] is called in a
// pid namespace other than the initial one, the table lacks the processes that were running then,
// until they exec.
func (t *Tracer) Processes() *ebpf.Map { return t.processes }

// fill adds an entry for each living process. The programs handle processes that start or end at
// the same time.
func (p *processTable) fill() error {
	if initial, _ := proc.InitialPIDNamespace(); !initial {
		return nil // this /proc has the pids of another PID namespace than the programs see
	}
	pids, err := proc.PIDs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		e, err := readProcess(pid)
		if err != nil {
			continue // the process has ended
		}
		var key [4]byte
		binary.LittleEndian.PutUint32(key[:], e.Pid)
		value, err := binary.Append(nil, binary.LittleEndian, e)
		if err != nil {
			return err
		}
		err = p.table.Put(key[:], value, ebpf.UpdateNoExist)
		if errors.Is(err, container.ErrExists) {
			continue
		}
		if err != nil {
			return err
		}
		// The process may have ended before its entry was added, so that no program removes it.
		if now, err := readProcess(pid); err != nil || now.StartTime != e.StartTime {
			if err := p.table.Delete(key[:]); err != nil && !errors.Is(err, container.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// readProcess returns the entry for a living process, read from its directory in /proc.
func readProcess(pid uint32) (e tableProcessEntry, err error) {
	stat, err := proc.ReadStat(proc.Dir(pid))
	if err != nil {
		return e, err
	}
	if stat.Ended() {
		return e, os.ErrProcessDone
	}
	e.Pid, e.Ppid, e.StartTime = pid, stat.PPID, stat.Start*proc.ClockTick
	for i := range min(len(stat.Comm), len(e.Comm)) {
		e.Comm[i] = int8(stat.Comm[i])
	}
	return e, nil
}

// DecodeProcess decodes a value of the process table. It returns an error if the value is too
// short. Any number of goroutines may call it at once.
func DecodeProcess(value []byte) (Process, error) {
	var e tableProcessEntry
	if _, err := binary.Decode(value, binary.LittleEndian, &e); err != nil {
		return Process{}, fmt.Errorf("decode process: %w", err)
	}
	comm := make([]byte, len(e.Comm))
	for i, c := range e.Comm {
		comm[i] = byte(c)
	}
	return Process{PID: e.Pid, PPID: e.Ppid, StartTime: e.StartTime, Execs: e.Execs, Comm: cString(comm)}, nil
}
