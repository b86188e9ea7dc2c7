package drops_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Programs of a network device run in softirqs, which interrupt another program that writes to the same ring on the same CPU. With
// native XDP they run on the sender's CPU, at the same time as the other program.
func TestCallsOfNetworkPrograms(t *testing.T) {
	for _, hook := range []struct {
		name, function string
		who            reservers.Reserver
		attach         func(*testing.T, *netpair.End, *reservers.Set)
		cpu            int // that it runs on
	}{
		{"generic XDP", "on_xdp", reservers.XDP, attachXDP(link.XDPGenericMode), 0},
		{"native XDP", "on_xdp", reservers.XDP, attachXDP(link.XDPDriverMode), 1},
		{"tc", "on_tc", reservers.TC, attachTC, 0},
	} {
		t.Run(hook.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e drops.Engine) {
				s := load(t, reservers.Config{Steps: burst, MaxSize: 400}, reservers.Output, hook.who)
				pair := newPair(t)
				hook.attach(t, pair.Server, s)
				onOneCPU(t)
				flood(t, pair)
				c := count(t, drops.Options{Engine: e})
				while(t, s.Ring, func() {
					if err := s.Enable(true); err != nil {
						t.Fatal(err)
					}
					for calls := uint64(0); calls < leastOfNetwork; {
						interrupted(t, s)
						own, err := s.Result(hook.who)
						if err != nil {
							t.Fatal(err)
						}
						calls = own.Calls
					}
					if err := s.Enable(false); err != nil {
						t.Fatal(err)
					}
				})
				report, r := read(t, c, s.Ring)
				truth, err := s.Total()
				if err != nil {
					t.Fatal(err)
				}
				within(t, report, &r, truth)
				own, err := s.Result(hook.who)
				if err != nil {
					t.Fatal(err)
				}
				by := callerOf(t, &r, hook.function)
				if by.Calls+report.Missed < own.Calls || by.Calls > own.Calls {
					t.Errorf("%d calls of %s; want %d", by.Calls, hook.function, own.Calls)
				}
				for _, on := range r.CPUs {
					if on.CPU == 1 && (on.Calls > 0) != (hook.cpu == 1) {
						t.Errorf("%d calls on CPU 1; the network program should run on CPU %d", on.Calls, hook.cpu)
					}
				}
			})
		})
	}
}

// leastOfNetwork is the least number of calls of a network program that say anything.
const leastOfNetwork = 400

func newPair(t *testing.T) *netpair.Pair {
	t.Helper()
	pair, err := netpair.New()
	if errors.Is(err, netpair.ErrNotSupported) {
		testenv.SkipWithout(t, "veth", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pair.Close() })
	steer(t, pair.Server)
	return pair
}

// steer has CPU 0 process what the device receives (Documentation/networking/scaling.rst, RPS). sysfs shows the devices of the
// namespace in which it is mounted.
func steer(t *testing.T, e *netpair.End) {
	t.Helper()
	if err := e.Do(func() error {
		cmd := exec.Command("sh", "-c", "mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/"+e.Device+"/queues/rx-0/rps_cpus")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("steer packets to CPU 0: %w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func attachXDP(mode link.XDPAttachFlags) func(*testing.T, *netpair.End, *reservers.Set) {
	return func(t *testing.T, e *netpair.End, s *reservers.Set) {
		t.Helper()
		if err := e.Do(func() error {
			dev, err := net.InterfaceByName(e.Device)
			if err != nil {
				return err
			}
			l, err := link.AttachXDP(link.XDPOptions{Program: s.Program(reservers.XDP), Interface: dev.Index, Flags: mode})
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// attachTC attaches to the ingress of the device, until its namespace ends.
func attachTC(t *testing.T, e *netpair.End, s *reservers.Set) {
	t.Helper()
	feature := "qdisc-clsact"
	err := e.Do(func() error {
		dev, err := netlink.LinkByName(e.Device)
		if err != nil {
			return err
		}
		of := netlink.QdiscAttrs{LinkIndex: dev.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
		if err := netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: of, QdiscType: "clsact"}); err != nil {
			return err
		}
		feature = "cls-bpf"
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: of.LinkIndex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
			Fd:          s.Program(reservers.TC).FD(), Name: "on_tc", DirectAction: true,
		})
	})
	if errors.Is(err, unix.ENOENT) { // a module is missing
		testenv.SkipWithout(t, feature, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flood sends packets from CPU 1 until the test ends. It returns after the first.
func flood(t *testing.T, pair *netpair.Pair) {
	t.Helper()
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(pair.Server.IPv4, 9))
	var from, sink *net.UDPConn
	err := pair.Server.Do(func() (err error) { sink, err = net.ListenUDP("udp", to); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	if err := pair.Client.Do(func() (err error) { from, err = net.DialUDP("udp", nil, to); return err }); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	first, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer from.Close()
		restore, err := pin(1)
		if err == nil {
			defer restore()
			_, err = from.Write([]byte{0})
		}
		close(first)
		for err == nil && !stop.Load() {
			_, err = from.Write([]byte{0})
		}
		if err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop.Store(true); <-done })
	<-first
}
