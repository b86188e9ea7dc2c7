package arenaxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
)

// Server answers requests in a process, for the same addresses and sources as the program does. Beside
// an [Accelerator] it gets what that one leaves. All but Serve may be called by many goroutines
// at once.
type Server struct {
	kv   *arena.KV
	opts Options
	dev  *device
	conn *net.UDPConn

	reach    atomic.Pointer[reach]
	outcomes [outcomes]atomic.Uint64
}

// Listen opens a socket for requests to an interface: what arrives at another one, as
// loopback, does not come to it. The caller closes the server.
//
// Errors: [ErrNoInterface], [ErrLoopback]; EADDRINUSE where another server has the port.
func Listen(kv *arena.KV, opts Options) (*Server, error) {
	s, err := listen(kv, opts)
	if err != nil {
		return nil, fmt.Errorf("serve on interface %q: %w", opts.Interface, err)
	}
	return s, nil
}

func listen(kv *arena.KV, opts Options) (_ *Server, err error) {
	if opts, err = opts.complete(); err != nil {
		return nil, err
	}
	s := &Server{kv: kv, opts: opts}
	if s.dev, err = openDevice(opts.Interface); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.dev.close()
		}
	}()
	r, err := s.dev.reach(opts)
	if err != nil {
		return nil, err
	}
	s.reach.Store(r)
	s.conn, err = bind(opts.Interface, opts.Port)
	return s, err
}

// bind returns a socket for a port of an interface, by IPv4 and IPv6. A datagram comes with a
// control message that has the address which it was sent to.
func bind(device string, port uint16) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(family, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // of IPv4 datagrams too
			if family == "udp4" {
				level, option = unix.IPPROTO_IP, unix.IP_PKTINFO // where the host has no IPv6
			}
			failed = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device),
				unix.SetsockoptInt(int(fd), level, option, 1),
			)
		})
		return errors.Join(err, failed)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// Close closes the socket. Call it after Serve.
func (s *Server) Close() error {
	s.dev.close()
	return s.conn.Close()
}

// Serve answers requests until ctx ends, for which it returns nil. It keeps to the addresses and
// networks of the interface as they change. Call it once.
//
// It knows get, with any number of keys, of which it answers each once, where their values fit into one
// datagram. Other commands of memcached get ERROR, and nothing else gets an answer.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- s.dev.follow(ctx, s.opts, func(r *reach) error { s.reach.Store(r); return nil })
	}()
	err := s.serve(ctx)
	cancel()
	if err = errors.Join(err, <-followed); err != nil {
		return fmt.Errorf("serve on interface %q: %w", s.opts.Interface, err)
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var request [1 << 16]byte
	var control [128]byte
	reply := make([]byte, 0, maxAnswer)
	for {
		n, controlLen, _, from, err := s.conn.ReadMsgUDPAddrPort(request[:], control[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		result, err := s.answer(&reply, request[:n], from, sentTo(control[:controlLen]))
		if err != nil {
			return err
		}
		s.outcomes[result].Add(1)
		if result == answered {
			// From the address that it was sent to, with the same control message. A client that
			// is gone, or unreachable, is no reason to stop.
			_, _, _ = s.conn.WriteMsgUDPAddrPort(reply, control[:controlLen], from)
		}
	}
}

// sentTo returns the address in a control message of [bind]'s socket; the zero Addr without one.
func sentTo(control []byte) netip.Addr {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		switch {
		case err != nil:
			return netip.Addr{}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data)).Unmap()
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:])) // ipi_addr
		}
		control = rest
	}
	return netip.Addr{}
}

// outcome is what becomes of a datagram.
type outcome int

const (
	answered outcome = iota
	noRequest
	notLocal
	fromServer
	fromElsewhere
	tooLarge
	outcomes
)

// answer puts the answer to a datagram into reply, if the outcome is that it gets one. An error
// is one of the arena.
func (s *Server) answer(reply *[]byte, request []byte, from netip.AddrPort, to netip.Addr) (outcome, error) {
	r := s.reach.Load()
	switch {
	case !slices.Contains(r.local, to):
		return notLocal, nil
	case isServerPort(from.Port(), s.opts.Port):
		return fromServer, nil
	case !r.mayAsk(from.Addr()):
		return fromElsewhere, nil
	}
	c, ok := parseCommand(request)
	if !ok {
		return noRequest, nil
	}
	headers := 40 + 8 // of IPv6 and UDP
	if to.Is4() {
		headers = 20 + 8
	}
	limit := s.opts.Growth*(headers+len(request)) - headers
	var err error
	if *reply, err = c.appendAnswer((*reply)[:0], s.kv, limit); err != nil {
		return noRequest, err
	}
	if len(*reply) == 0 {
		return tooLarge, nil
	}
	return answered, nil
}

// isServerPort reports whether servers use a port: the one of this server, memcached's, and those that
// take privileges on Linux. What is sent to a server may be answered, and its answer too. The program
// has the same rule.
func isServerPort(p, own uint16) bool { return p == own || p == DefaultPort || p < 1024 }

// ServerCounters are what became of the datagrams that came to a [Server].
type ServerCounters struct {
	Answered  uint64 `json:"answered"`   // errors too
	NoRequest uint64 `json:"no_request"` // no command of memcached in one datagram
	NotLocal  uint64 `json:"not_local"`  // not for an address of the interface
	Refused
}

// Counters returns what there was until now.
func (s *Server) Counters() ServerCounters {
	n := func(o outcome) uint64 { return s.outcomes[o].Load() }
	return ServerCounters{
		Answered: n(answered), NoRequest: n(noRequest), NotLocal: n(notLocal),
		Refused: Refused{ServerPorts: n(fromServer), Sources: n(fromElsewhere), Large: n(tooLarge)},
	}
}
